"""From the model's raw output to an answer whose every mark stands for a place in a document.

What always holds: a mark ``[n]`` in the answer is the number of a source that was found for this asker, and
has exactly one :class:`Citation`, whose ``quote`` is the page's text from ``start`` to ``end``; marks that
are forged, out of range, linked or unsupported are dropped; joining what :class:`AnswerWriter` emitted gives
the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from search.injected import injected_spans
from search.passages import Copy, Source
from search.sentences import is_sentence_end
from search.support import ACCEPT_FROM, ATTRIBUTE_FROM, LONGEST_QUOTE, Evidence, Support, words

_BRACKET = r"[\[【][^\[\]【】\n]{0,40}[\]】](?:\([^()\n]{0,300}\))?"
_RUN = re.compile(rf"(?:[.!?…。！？]+[\"'”’»)*_]*|\s+|{_BRACKET})+")
_RUN_BEGINS = re.compile(r"[.!?…。！？\s\[【]")
_OPEN = re.compile(r"[\[【][^\[\]【】\n]{0,40}$")
_OPEN_LINK = re.compile(r"[\]】]\([^()\n]{0,300}$")
_CUT_OFF = re.compile(r"[\[【][\d\s,;^#]*$|\(")
_OPEN_NUMBER = re.compile(r"\[\d{1,4}$")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,3}[.)])\s+")
_MARK = re.compile(
    r"[\[【]\s*((?:[a-z]{1,9}\s*)?[#^]?\d{1,4}(?:\s*(?:,|;|-|–|and|und)\s*[#^]?\d{1,4})*|n)\s*\.?\s*[\]】]"
    r"(?:\([^()\n]{0,300}\))?",
    re.IGNORECASE,
)
_SPACED_MARK = re.compile(rf"[ \t]*{_MARK.pattern}", re.IGNORECASE)

Semantic = Callable[[str, Source], float]
"""Cosine of a sentence and the nearest sentence of a source; may be slow."""
SEMANTIC_FROM = 0.55
SEMANTIC_WORDS_FROM = 0.2
"""A sentence that shares fewer words is not attributed, however near its meaning seems."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A place in a document. ``n`` is the source's number; offsets are code points of the page's text."""

    n: int
    document_id: UUID
    version_id: UUID
    chunk_id: UUID
    title: str
    page: int
    start: int
    end: int
    quote: str
    place: str = ""
    """Where a reader finds it in the file, in words (:mod:`search.places`)."""
    is_paged: bool = False
    """Whether a reader of the file sees the number ``page``."""
    also_in: tuple[Copy, ...] = ()
    """Other documents that say the same as the passage."""

    def as_json(self) -> dict[str, Any]:
        """The citation as it is stored, streamed and returned by the API: one shape everywhere."""
        return {
            "n": self.n,
            "document_id": str(self.document_id),
            "version_id": str(self.version_id),
            "chunk_id": str(self.chunk_id),
            "title": self.title,
            "page": self.page,
            "is_paged": self.is_paged,
            "place": self.place,
            "start": self.start,
            "end": self.end,
            "quote": self.quote,
            "also_in": [copy.as_json() for copy in self.also_in],
        }


def cited(source: Source, start: int, end: int) -> Citation:
    """The citation of a place of ``source``, given in its text."""
    return Citation(
        source.n, source.document_id, source.version_id, source.chunk_id, source.title, source.page,
        source.start + start, source.start + end, source.text[start:end], source.place, source.is_paged,
        source.also_in,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verified:
    """The citation ``n`` supports the sentence before its mark, by its words or by its meaning."""

    n: int
    support: float


Piece = str | Citation | Verified


def drop_marks(text: str) -> str:
    """Text without any citation mark."""
    return _MARK.sub("", text)


class AnswerWriter:
    """Takes the model's output in pieces of any size and gives back the answer's, with checked marks only.

    ``citations`` grows as sources are cited; a citation that comes again with the same ``n`` replaces the
    first. ``question``: what is answered. ``brief``: a single word is an answer, and may be cited.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        semantic: Semantic | None = None,
        *,
        question: str = "",
        brief: bool = False,
    ) -> None:
        self._evidence = Evidence(sources, question)
        self._semantic = semantic
        self._brief = brief
        self._held = ""
        self._sentence = ""
        self._marks: list[int] = []
        self._carried: list[int] = []
        self.citations: dict[int, Citation] = {}
        self.text = ""

    def feed(self, text: str) -> list[Piece]:
        """What can be shown after ``text``; the rest is held until its meaning is clear."""
        self._held += text
        pieces: list[Piece] = []
        while self._held:
            begin = _RUN_BEGINS.search(self._held)
            at = begin.start() if begin else len(self._held)
            if at:
                self._say(self._held[:at], pieces)
                self._held = self._held[at:]
                continue
            run = _RUN.match(self._held)
            if run is None:
                if _OPEN.match(self._held):
                    break
                self._say(self._held[0], pieces)  # a bracket that is no mark
                self._held = self._held[1:]
                continue
            rest = self._held[run.end() :]
            if not rest or _OPEN.match(rest) or _OPEN_LINK.match(run.group()[-1] + rest):
                break
            self._held = rest
            self._settle(run.group(), rest[0], pieces)
        return pieces

    def finish(self) -> list[Piece]:
        """What was still held. Nothing may be fed afterwards."""
        pieces: list[Piece] = []
        held, self._held = self._held, ""
        run = _RUN.match(held)
        tail = held[run.end() :] if run else held
        if run:
            self._settle(run.group(), "" if _CUT_OFF.match(tail) else tail[:1], pieces)
        if not _CUT_OFF.match(tail):
            self._say(tail, pieces)
        if words(self._claim) or (self._brief and self._claim.strip()):
            self._close("", [], pieces)
        self.text = self.text.rstrip()
        return pieces

    def _say(self, text: str, pieces: list[Piece]) -> None:
        self._sentence += text
        self._emit(text, pieces)

    def _emit(self, text: str, pieces: list[Piece], *, mark: bool = False) -> None:
        if not mark:
            text = self._without_marks_made_of_rests(text)
        if not text:
            return
        self.text += text
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] += text
        else:
            pieces.append(text)

    def _without_marks_made_of_rests(self, text: str) -> str:
        """``[[9]2]`` without its mark would read ``[2]``: such a bracket is never closed."""
        kept = ""
        for character in text:
            if character != "]" or not _OPEN_NUMBER.search((self.text + kept)[-5:]):
                kept += character
        return kept

    def _settle(self, run: str, following: str, pieces: list[Piece]) -> None:
        """Decides a run of stops, white space and brackets: the end of a sentence or the middle of one."""
        line, newline, below = run.partition("\n")
        marks = self._numbers(line)
        later = self._numbers(below)
        bare = _SPACED_MARK.sub("", line)
        stop = bare[: len(bare) - len(bare.lstrip(".!?…。！？\"'”’»)*_"))]
        gap = bare[len(stop) :].rstrip() if newline else bare[len(stop) :]
        gap += newline + _MARK.sub("", below)
        if not self._sentence.strip(" -*#>_0123456789.)"):
            self._carried += marks + later
            gap = gap.lstrip(" ") if marks else gap
            self._say(stop + gap if self.text or stop else stop + gap.lstrip(), pieces)
            return
        ends = bool(newline) or not following
        if stop and not ends and (gap or marks):
            ends = is_sentence_end(self._sentence + stop, following)
        if ends:
            self._close(stop, marks, pieces)
            self._emit((gap.rstrip(" ") if later else gap) if following else "", pieces)
            self._carried = later
        else:
            self._cite(marks, pieces)
            self._say(stop + gap if stop or gap else "", pieces)

    def _numbers(self, run: str) -> list[int]:
        """The source numbers of the marks in ``run``; a linked mark, or a number without a source, counts
        nothing.
        """
        found: list[int] = []
        for match in _MARK.finditer(run):
            if not match.group().endswith(")"):
                found += [int(digits) for digits in re.findall(r"\d+", match.group(1))]
        return [n for n in dict.fromkeys(found) if n in self._evidence.sources]

    def _cite(self, marks: Sequence[int], pieces: list[Piece]) -> None:
        """Marks in the middle of a sentence: checked against what stands before them."""
        for support in self._checked(marks):
            self._mark(support, pieces)
            self._marks.append(support.source.n)

    def _close(self, stop: str, marks: Sequence[int], pieces: list[Piece]) -> None:
        """Ends the sentence: its marks are checked, or found where it has none, and stand before the full
        stop.
        """
        supports = self._checked(list(dict.fromkeys((*self._carried, *marks))))
        if not supports and not self._marks:
            supports = self._attributed()
        for support in supports:
            self._mark(support, pieces)
        self._emit(stop, pieces)
        self._sentence, self._marks, self._carried = "", [], []

    def _checked(self, marks: Sequence[int]) -> list[Support]:
        """The supports of the model's marks; a mark whose passage does not support is replaced or dropped."""
        kept: dict[int, Support] = {}
        for n in marks if words(self._claim) else ():
            support = self._evidence.of(n, self._claim)
            if support.score < ACCEPT_FROM or not support.literal:
                better = self._attributed()
                if not better and not (support.literal and self._means(support.source)):
                    continue
                support = better[0] if better else support
            kept.setdefault(support.source.n, support)
        return list(kept.values())

    @property
    def _claim(self) -> str:
        """The sentence so far without its bullet and marks: what a passage has to support."""
        return drop_marks(_BULLET.sub("", self._sentence))

    def _attributed(self) -> list[Support]:
        claim = self._claim
        if len(words(claim)) < (1 if self._brief else 2) and not re.search(r"\d", claim):
            return self._evidence.literal(claim) if self._brief else []
        ranked = self._evidence.ranked(claim)
        if ranked and ranked[0].score >= ATTRIBUTE_FROM:
            return ranked[:1]
        if self._brief and (found := self._evidence.literal(claim)):
            return found
        near = [s for s in ranked[:2] if s.score >= SEMANTIC_WORDS_FROM and s.literal]
        return [s for s in near if self._means(s.source)][:1] if len(words(claim)) > 2 else []

    def _means(self, source: Source) -> bool:
        return self._semantic is not None and self._semantic(self._claim, source) >= SEMANTIC_FROM

    def _mark(self, support: Support, pieces: list[Piece]) -> None:
        source, (start, end) = support.source, support.span
        known = self.citations.get(source.n)
        if known is not None:
            first, last = min(known.start - source.start, start), max(known.end - source.start, end)
            whole = last - first <= LONGEST_QUOTE and not injected_spans(source.text[first:last])
            start, end = (first, last) if whole else (known.start - source.start, known.end - source.start)
        citation = cited(source, start, end)
        glue = "" if self.text.endswith(("]", " ", "\n")) or not self.text else " "
        self._sentence += f" [{source.n}]"
        self._emit(f"{glue}[{source.n}]", pieces, mark=True)
        if citation != known:
            self.citations[source.n] = citation
            pieces.append(citation)
        pieces.append(Verified(source.n, round(support.score, 3)))
