"""The sentences of an answer that no passage supports: shown as such, or left out.

Every supported sentence carries a mark, set by :mod:`search.citations`, so what is unsupported can be told from the
text alone: nothing is stored for it. What always holds: spans are places in the answer, in order; a sentence that claims
nothing (a heading, the header of a table, an introduction that ends in a colon, a word or two) is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from search.marks import MARK
from search.sentences import Span, sentence_spans
from search.support import words

_BLANKS = re.compile(r"[ \t]+(?=\n|\Z)|(?<=\n)[ \t]*(?:[-*•–]|\d{1,3}[.)])?[ \t]*(?=\n|\Z)")
_RULE = re.compile(r"[ \t]*\n[ \t]*\|?[ \t]*:?-+[-:| \t]*(?:\n|\Z)")
"""What follows the header of a table, which claims nothing."""
_UNDERLINE = re.compile(r"\n[ \t]*(?:=+|-+)[ \t]*\Z")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.M)
_BULLET = re.compile(r"\A\s*(?:[-*•–]|\d{1,3}[.)])\s+")
LEAST_WORDS = 2


def unsupported_spans(answer: str) -> list[Span]:
    """The unsupported sentences of an answer with its marks, as ``(start, end)`` in code points."""
    return [
        (start, end)
        for start, end in sentence_spans(answer)
        if _claims(answer[start:end]) and not _RULE.match(answer, end)
    ]


def leave_out(answer: str, spans: Sequence[Span]) -> str:
    """The answer without these places, and without the bullets and blank lines that they leave behind."""
    kept, at = "", 0
    for start, end in spans:
        kept += answer[at:start].rstrip(" ") if answer[end : end + 1] in ("", " ", "\n") else answer[at:start]
        at = end
    kept = _BLANKS.sub("", kept + answer[at:])
    return re.sub(r"\n{3,}", "\n\n", kept).strip()


def _claims(sentence: str) -> bool:
    bare = _BULLET.sub("", sentence).strip()
    if len(_FENCE.findall(bare)) % 2:
        return False  # a part of a block of code cannot be taken out of it
    if (
        _UNDERLINE.search(bare)
        or MARK.search(bare)
        or bare.startswith("#")
        or bare.rstrip("*_ ").endswith(":")
    ):
        return False
    return len(words(bare)) >= LEAST_WORDS
