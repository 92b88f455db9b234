"""What a sentence states, taken apart: its content words, names and codes, and its numbers, times and dates with the words
that lead to them.

What always holds: "five years" and "5 years" state the same; a date is one value, however it is written, and its month is
no name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from search.marks import MARK
from search.support import NUMBER_WORDS, words

_MONTH_WORDS = """
january february march april may june july august september october november december
januar februar märz april mai juni juli august september oktober november dezember
"""
_MONTHS = _MONTH_WORDS.split()
_MONTH = "|".join(_MONTHS)
_DATE = re.compile(
    rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)? (?:of )?(?P<m>{_MONTH})\b(?:,? (?P<y>\d{{4}}))?"
    rf"|\b(?P<m2>{_MONTH}) (?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<y2>\d{{4}}))?"
    r"|\b(?P<y3>\d{4})-(?P<m3>\d\d)-(?P<d3>\d\d)\b|\b(?P<d4>\d{1,2})\.(?P<m4>\d{1,2})\.(?P<y4>\d{4})\b",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    rf"{_DATE.pattern}|[€$£]|\d+(?:[.,:/-]\d+)*|[^\W\d_]+\d[\w-]*|[^\W\d_]+(?:['’][^\W\d_]+)?|%",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*\Z")
_CLOCK = re.compile(r"\d{1,2}:\d\d\Z")
_YEAR = re.compile(r"1[5-9]\d\d\Z|20\d\d\Z")
_CODE = re.compile(r"(?=.*\d)(?=.*[^\W\d_])")
_SIGNS = {"€": "euro", "$": "dollar", "£": "pound", "%": "percent", "prozent": "percent"}
YEAR, TIME, DATE = "(year)", "(time)", "(date)"
_COUNTED_WORDS = """
page chapter figure fig table step section part version item question no nr number article paragraph appendix level phase
"""
_COUNTED = frozenset(_COUNTED_WORDS.split())
"""What a number only names."""
_SMALL_WORDS = "a an the of in on at to from for by and or than about over under within after before"
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True, slots=True)
class Value:
    """A number, time or date. ``units`` are the words beside it; ``before`` those that lead to it."""

    value: str
    units: frozenset[str]
    before: frozenset[str]
    shown: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence taken apart: its content words, those of them in capitals, its codes, and its values."""

    text: str
    plain: frozenset[str]
    names: frozenset[str]
    codes: frozenset[str]
    years: frozenset[str]
    values: tuple[Value, ...]


def take_apart(text: str) -> Sentence:
    """The parts of a sentence."""
    matches = list(_TOKEN.finditer(MARK.sub(_blank, text)))
    tokens = [match.group() for match in matches]
    values: list[Value] = []
    years: set[str] = set()
    codes: set[str] = set()
    names: set[str] = set()
    plain: list[str] = []
    for i, (match, token) in enumerate(zip(matches, tokens, strict=True)):
        number = NUMBER_WORDS.get(token.lower(), token)
        before = tokens[i - 1].lower() if i else ""
        after = tokens[i + 1].lower() if i + 1 < len(tokens) else ""
        led = frozenset(plain)
        if match.lastgroup and (day := _day(match)):
            values.append(Value(day, frozenset([DATE]), led, token))
            years.add(day[:4])
        elif _CLOCK.match(token):
            values.append(Value(token, frozenset([TIME]), led, token))
        elif _NUMBER.match(number):
            units = frozenset(unit for unit in (_unit(before), _unit(after)) if unit)
            if _YEAR.match(token) and not _unit(after):
                years.add(token)
                units |= {YEAR}
            if before not in _COUNTED:
                values.append(Value(number.replace(",", ""), units, led, _shown(tokens, i)))
        elif _CODE.match(token):
            codes.add(token.lower())
        else:
            found = [word for word in words(token) if word not in _SIGNS]
            plain += found
            first_alone = i == 0 and not (len(tokens) > 1 and tokens[1][0].isupper())
            if token[0].isupper() and token.lower() not in _SMALL and not first_alone:
                names.update(found)
    return Sentence(
        text, frozenset(plain), frozenset(names), frozenset(codes), frozenset(years), tuple(values)
    )


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _day(match: re.Match[str]) -> str:
    """A date as ``YYYY-MM-DD``; a year that is not said is ``----``. Empty where the month is none."""
    part = {name[0]: value for name, value in match.groupdict().items() if value}
    month = part["m"].lower()
    if not month.isdigit() and month not in _MONTHS:
        return ""  # "auguſt": letters that only match without regard to case
    number = int(month) if month.isdigit() else _MONTHS.index(month) % 12 + 1
    return f"{part.get('y', '----')}-{number:02}-{int(part['d']):02}"


def _unit(word: str) -> str:
    """The word beside a number by which two numbers are of the same kind; empty for one that says nothing."""
    if not word or word[0].isdigit() or word in _SMALL:
        return ""
    return _SIGNS.get(word) or next(iter(words(word)), "")


def _shown(tokens: Sequence[str], i: int) -> str:
    """A number as a reader knows it: with its currency or the word behind it."""
    if i and tokens[i - 1] in "€$£":
        return tokens[i - 1] + tokens[i]
    after = tokens[i + 1] if i + 1 < len(tokens) else ""
    if after == "%":
        return f"{tokens[i]}%"
    return f"{tokens[i]} {after}" if _unit(after.lower()) else tokens[i]
