"""An answer in the documents' own words, for a question whose kind of answer the model did not give.

A small model sometimes tells everything of a sentence but the number that was asked for. What always holds: the
answer is one sentence of one passage, cited at its place, of the kind asked for, and about what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from search.answer_kinds import is_of_the_kind_asked_for
from search.citations import Citation, cited
from search.injected import claims
from search.passages import Source
from search.prompting import harmless
from search.support import words

SHARED_FROM = 0.5
"""Share of the question's content words that the sentence has to say. Not chosen by a test set; what it gives is
measured in ``docs/answering.md``."""

_FRAME = re.compile(r"\A(?:[#>*•–-]+|\d{1,3}[.)])\s+")
_STOP = re.compile(r"[.!?…。！？]*\Z")


@dataclass(frozen=True, slots=True)
class Quoted:
    """``text`` is the sentence with its mark, ``citation`` the place of the same sentence."""

    text: str
    citation: Citation


def quote_of_the_kind_asked_for(question: str, sources: Sequence[Source]) -> Quoted | None:
    """The sentence of ``sources`` that says most of the question's words among those that state what it asks for.
    None where no such sentence says enough of them; the first of equal ones.
    """
    asked = frozenset(words(question))
    best: tuple[float, Source, int, int] | None = None
    for source in sources:
        for start, end in claims(source.text):
            sentence = source.text[start:end]
            share = len(asked & frozenset(words(sentence))) / max(1, len(asked))
            better = share >= SHARED_FROM and (best is None or share > best[0])
            if better and is_of_the_kind_asked_for(question, sentence):
                best = share, source, start, end
    return _quoted(*best[1:]) if best is not None else None


def _quoted(source: Source, start: int, end: int) -> Quoted:
    said = " ".join(_FRAME.sub("", harmless(source.text[start:end])).split())
    stop = _STOP.search(said)
    body, tail = (said[: stop.start()], stop.group()) if stop else (said, "")
    return Quoted(f"{body} [{source.n}]{tail}", cited(source, start, end))
