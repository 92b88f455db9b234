"""How long an answer should be: a fact in a few words, everything else in sentences.

What always holds: the question alone decides, in English and German; where it is not plainly one for a fact, the answer
is full.
"""

from __future__ import annotations

import re
from typing import Literal

Length = Literal["brief", "full"]

LONGEST_BRIEF = 25
"""Words of a question; a longer one asks for more than a fact."""

_DEGREES = r"many|much|long|often|old|far|tall|big|large|high|fast|quickly|late|early|wide|deep|heavy"
_GRADE = r"viele?|viel|lange|oft|alt|hoch|groß|weit|schnell|breit|tief|schwer"
_FACT = re.compile(
    rf"\b(?:who|whom|whose|when|where|which|what|how (?:{_DEGREES})|wer|wem|wen|wessen|wann|wo|woher|wohin|"
    rf"welche[rsmn]?|wie (?:{_GRADE})|wieviele?)\b",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(
    r"\A\W*(?:is|are|was|were|am|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had|"
    r"ist|sind|waren|darf|dürfen|kann|können|muss|müssen|soll|sollen|wird|werden|hat|haben|gibt)\b",
    re.IGNORECASE,
)
_WAS = re.compile(r"\A\W*was (?:ist|sind|war|waren|kostet|heißt|beträgt)\b", re.IGNORECASE)
"""German; the English word asks for yes or no."""
_FULL = re.compile(
    rf"\bhow (?!(?:{_DEGREES})\b)|\bwie (?!(?:{_GRADE})\b)|"
    r"\b(?:why|tell|should i|do i do|to do|requirements?|voraussetzung(?:en)?|explain|describe|compare|differ\w*|steps?|summari[sz]\w*|summary|overview|list|discuss|happen(?:s|ed)?|"
    r"purpose|meaning|mean|definition|define|ways|reasons|causes|advantages|disadvantages|benefits|pros and cons|"
    r"warum|wieso|weshalb|wozu|erkläre?n?|beschreib\w*|vergleich\w*|unterschied\w*|zusammenfass\w*|überblick|schritte|"
    r"gründe|vorteile|nachteile|bedeutet|passiert)\b|"
    r"\b(?:and|und) (?:what|how|who|why|when|where|which|was|wie|wer|warum|wann|wo|welche[rsmn]?)\b",
    re.IGNORECASE,
)


def length_asked_for(question: str) -> Length:
    """``brief`` for a question for a fact: who, when, where, which, what, how many."""
    if len(question.split()) > LONGEST_BRIEF or _FULL.search(question):
        return "full"
    if _WAS.search(question):
        return "brief"
    return "full" if _YES_OR_NO.search(question) or not _FACT.search(question) else "brief"
