"""Whether an answer to "how many" holds a quantity at all, and one to "when was" a time.

A small model asked for a number sometimes repeats a heading instead. Every word of it stands in a passage, so it would
be attributed and shown as an answer. What always holds: only questions for a quantity or a past time are judged, and an
answer that states any of its own, one that the question does not have, passes; whether it is the right one is for
attribution to say. Persons are not judged: headings are full of names, and "who" is often answered by a role.
"""

from __future__ import annotations

import re

from search.citations import drop_marks

_ASKS = re.compile(r"\bhow (?:many|much)\b|\bwie\s?viele?\b|\bcombien\b|\bcu[aá]nt[oa]s?\b", re.IGNORECASE)
_COUNTS = re.compile(r"\bhow many\b|\bwie\s?viele\b|\bcu[aá]ntos\b|\bcu[aá]ntas\b", re.IGNORECASE)
_PERCENT = re.compile(r"\s?(?:%|‰|per\s?cent\b|prozent\b)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.,])\d+(?:[.,:/]\d+)*(?![\w])|(?<![\w])\d+(?:[.,]\d+)*(?=\s?(?:%|‰|°|[a-zµ]{1,3}\b))"
)
_YEAR = re.compile(r"(?:18|19|20)\d\d\Z")
_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million
millions billion billions dozen dozens half third quarter twice once no none nothing all both single several many most
few couple pair unlimited zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert tausend
null kein keine keinen alle beide halb mehrere einige viele
"""
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS.split())})\b", re.IGNORECASE)

_ASKS_TIME = re.compile(
    r"\bwhen (?:did|was|were)\b|\b(?:what|which) (?:year|date|day|month|decade|century)\b|\bwann (?:wurden?|war(?:en)?)\b",
    re.IGNORECASE,
)
_TIME_WORDS = """
january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept
oct nov dec monday tuesday wednesday thursday friday saturday sunday spring summer autumn fall winter easter christmas
century centuries decade decades year years month months week weeks day days hour hours minute minutes quarter morning noon
midday afternoon evening night midnight today yesterday tomorrow now never always after before during until since while when
upon once era age period season war earlier later late early end start beginning time first last
januar februar märz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag nach vor während
bis seit als jahr jahre jahren monat monate tag tage woche wochen jahrhundert
"""
_TIME = re.compile(
    rf"(?<!\w)\d+|\b(?:\w+(?:teenth|tieth|ighth|ninth|fifth)|{'|'.join(_TIME_WORDS.split())})\b",
    re.IGNORECASE,
)


def is_of_the_kind_asked_for(question: str, answer: str) -> bool:
    """False for a text without any quantity or time where one was asked for, however well it is supported."""
    if asks_for_quantity(question):
        return states_quantity(question, answer)
    return not asks_for_time(question) or states_time(question, answer)


def asks_for_quantity(question: str) -> bool:
    """Whether the question is one for a number or an amount."""
    return _ASKS.search(question) is not None


def states_quantity(question: str, answer: str) -> bool:
    """Whether the answer has a number, in digits or words, that the question does not have.

    A number that looks like a year counts only before a word of the question: "2026 units", not "in 2026". A share,
    "18 percent", is no count, so it does not answer "how many".
    """
    asked = question.lower()
    count = _COUNTS.search(asked) is not None and not re.search(r"%|\bper\s?cent|\bprozent", asked)
    known = set(_NUMBER.findall(asked))
    said = drop_marks(answer).lower()
    for match in _NUMBER.finditer(said):
        number = match.group()
        if number in known or (count and _PERCENT.match(said, match.end())):
            continue
        following = re.match(r"\s+(\w+)", said[match.end() :])
        if _YEAR.match(number) and not (following and re.search(rf"\b{following.group(1)}", asked)):
            continue
        return True
    return not set(_NUMBER_WORD.findall(said)) <= set(_NUMBER_WORD.findall(asked))


def asks_for_time(question: str) -> bool:
    """Whether the question is one for the time of something past; "when do I need" asks for a condition."""
    return _ASKS_TIME.search(question) is not None


def states_time(question: str, answer: str) -> bool:
    """Whether the answer has a number or a word of time that the question does not have."""
    said = {time.lower() for time in _TIME.findall(drop_marks(answer))}
    return not said <= {time.lower() for time in _TIME.findall(question)}
