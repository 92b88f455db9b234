"""Where sentences begin and end, for cutting passages, quoting them and checking an answer.

What always holds: spans come in order, do not overlap, and are never blank; nothing is ever cut inside a
word.
"""

from __future__ import annotations

import re

Span = tuple[int, int]

LONGEST = 600
"""Characters; a longer "sentence" is a table or a list and is cut at its lines."""

_NEAR = 100
"""Characters around a full stop that tell whether it ends a sentence."""

_ABBREVIATIONS_WORDS = """
e.g. i.e. etc. vs. cf. approx. no. nos. fig. figs. sec. art. vol. pp. p. ca. dr. mr. mrs. ms. prof.
st. inc. ltd. co. corp. jr. sr. al. z.b. d.h. bzw. usw. nr. abs. evtl. ggf. u.a. inkl. max. min.
tel.
"""
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_WORDS.split())
_ITEM = r"[ \t]*(?:[-*•–]|\d{1,3}[.)])\s"
_ROW = r"[^\n:;]{1,80}: [^\n;]{0,400}; [^\n:;]{1,80}: "
"""The beginning of a table's row as the parsers write it: ``Header: value; Header: value``."""
_END = re.compile(  # a run of stops is looked at once, from its beginning
    rf"(?<![.!?…。！？])[.!?…。！？]++[\"'”’»)\]]*+(?=\s)|\n[ \t]*+\n|\n(?={_ITEM}|{_ROW})"
)


def is_sentence_end(before: str, after: str) -> bool:
    """Whether the full stop that ends ``before`` closes a sentence when ``after`` follows the white space."""
    last = before.rsplit(None, 1)[-1].lower() if before.strip() else ""
    if last in _ABBREVIATIONS or re.fullmatch(r"(?:\w\.)+|\d{1,3}\.", last):
        return False
    return not (last.endswith(".") and after[:1].islower())


def sentence_spans(text: str) -> list[Span]:
    """The sentences of ``text`` as ``(start, end)`` in code points, without surrounding white space."""
    spans: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if not match.group().startswith("\n"):
            near = max(start, end - _NEAR)  # all of the text would be copied for each full stop
            line = text[max(near, text.rfind("\n", near, end) + 1) : end]
            if not is_sentence_end(line, text[end : end + _NEAR].lstrip()[:1]):
                continue
        spans += _trimmed(text, start, end)
        start = end
    spans += _trimmed(text, start, len(text))
    return spans


def _trimmed(text: str, start: int, end: int) -> list[Span]:
    piece = text[start:end]
    if not piece.strip():
        return []
    first = start + len(piece) - len(piece.lstrip())
    last = start + len(piece.rstrip())
    if last - first <= LONGEST or "\n" not in text[first:last]:
        return [(first, last)]
    lines: list[Span] = []
    at = first
    for line in text[first:last].splitlines(keepends=True):
        lines += _trimmed(text, at, at + len(line)) if line.strip() else []
        at += len(line)
    return lines
