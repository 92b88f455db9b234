"""Where in a text the known answer of a question stands, and which sentences of an answer are cited.

What always holds: spans count code points of the text given. A short answer's evidence is each place where its words
stand; of a long one, written freely, each sentence of the text that says half of one of its sentences or is half said
by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.citations import drop_marks
from search.evaluation.metrics import Span, overlaps
from search.marks import MARK
from search.sentences import sentence_spans
from search.support import words

LONGEST_QUOTE = 300
"""Characters of a quote that still points at something."""
SAID = 0.5
"""Share of a sentence's content words."""
_AFTER_THE_STOP = re.compile(rf"([.!?…。！？]++[\"'”’»)]*+)((?:[ \t]*{MARK.pattern})+)")


def evidence_spans(text: str, answers: Iterable[str]) -> list[Span]:
    """Where the answers stand in ``text``; empty where they do not."""
    found: list[Span] = []
    for answer in answers:
        found += _literal(text, answer) or _alike(text, answer)
    return found


def points_at_evidence(citation: Mapping[str, Any], page: str, answers: Sequence[str]) -> bool:
    """Whether a citation of a gold page quotes the answer's evidence in at most 300 characters. Without known answers any
    place of the page will do."""
    start, end = int(citation["start"]), int(citation["end"])
    if end - start > LONGEST_QUOTE:
        return False
    return not answers or any(overlaps((start, end), span) for span in evidence_spans(page, answers))


def cited_sentences(answer: str) -> tuple[int, int]:
    """How many sentences of an answer carry a citation, and how many there are. Those without a word do not count."""
    answer = _AFTER_THE_STOP.sub(r"\2\1", answer)  # "It is so. [1]" cites as "It is so [1]." does
    sentences = [answer[start:end] for start, end in sentence_spans(answer)]
    sentences = [sentence for sentence in sentences if words(drop_marks(sentence))]
    return sum(bool(MARK.search(sentence)) for sentence in sentences), len(sentences)


def _literal(text: str, answer: str) -> list[Span]:
    parts = [re.escape(part) for part in answer.split()]
    if not parts:
        return []
    pattern = r"(?<!\w)" * answer[:1].isalnum() + r"\s+".join(parts) + r"(?!\w)" * answer[-1:].isalnum()
    return [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]


def _alike(text: str, answer: str) -> list[Span]:
    said = [frozenset(words(answer[start:end])) for start, end in sentence_spans(answer)]
    whole = frozenset(words(answer))
    found = []
    for start, end in sentence_spans(text):
        here = frozenset(words(text[start:end]))
        tells = any(len(here & each) >= SAID * len(each) for each in said if each)
        if here and (tells or len(here & whole) >= SAID * len(here)):
            found.append((start, end))
    return found
