""" "The latest report" means the newest of documents that are alike.

What always holds: it counts only where a question asks for the latest, and only between documents found for it that have a
date; their order by relevance decides between all others. Words in English, German, French, Spanish and Italian are known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.hits import Hit

LATEST = 0.3
"""For a passage of the newest document, in units of the fused score, where the latest is asked for. Within the range that was
tried (0.2 to 0.5) all found the same (``docs/search.md``)."""
_ASKS = re.compile(
    r"\b(?:(?<!at the )latest|newest|(?:most|more)[ -]recent(?:ly)?|neuest\w{1,2}|aktuellst\w{1,2}|jüngst\w{1,2}"
    r"|plus récente?s?|más recientes?|più recent[ei])\b",
    re.IGNORECASE,
)


def asks_for_latest(query: str) -> bool:
    """Whether a question is about the newest of several."""
    return _ASKS.search(query) is not None


def newness(hits: Sequence[Hit]) -> dict[date, float]:
    """By a document's date the share of the other dates that are older: 1 for the newest, 0 for the oldest. Nothing where
    there are not two dates."""
    dates = sorted({hit.dated for hit in hits if hit.dated is not None})
    return {day: place / (len(dates) - 1) for place, day in enumerate(dates)} if len(dates) > 1 else {}
