"""A misspelt word of a question, corrected to a word that stands in passages which were found for the question as it is.

What always holds: a word is only ever corrected to one of the passages that are given, which the asker may read, so that nothing
is learnt of any other document; a word that stands in a passage somewhere within the asker's reach is right as it is; words
with digits are never touched. There is no vocabulary to keep: an embedding of a misspelt question is near enough to the
passages that have the word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from search.index.sparse import term_sequence

SHORTEST = 4
LONG = 8
"""Letters from which on two edits make another spelling of the same word; below, one does."""
LONGEST = 40
MOST_WORDS = 24
"""Words of a question that are looked at, those that come first."""
CLEARLY = 2
"""How many times as many passages must have the best word as the next one that is as near."""

_TOKEN = re.compile(r"\w+")


def corrected(query: str, passages: Iterable[str], is_known: Callable[[str], bool]) -> str:
    """``query`` with its misspelt words as ``passages`` have them, or an empty text where none is corrected.

    ``is_known`` tells whether a word stands in any passage that the asker may read; it is asked only for words that none of
    ``passages`` has although one has a near word.
    """
    asked = list(dict.fromkeys(word for word in _TOKEN.findall(query.lower()) if _may_be_wrong(word)))
    if not asked:
        return ""
    read = [frozenset(_TOKEN.findall(text.lower())) for text in passages]
    said = frozenset[str]().union(*read)
    instead: dict[str, str] = {}
    for word in asked[:MOST_WORDS]:
        if word in said or not (near := _near(word, said)):
            continue
        if (better := _clearly_best(near, read)) and not is_known(word):
            instead[word] = better
    if not instead:
        return ""
    return _TOKEN.sub(lambda found: _in_its_case(found.group(), instead), query)


def distance(a: str, b: str, most: int) -> int:
    """The edits that make ``b`` of ``a``: a letter more, less or another, or two neighbours swapped (Damerau 1964, each place
    edited once). Any number above ``most`` means more than ``most``."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: Sequence[int] = ()
    last: Sequence[int] = range(len(b) + 1)
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return last[-1]


def _may_be_wrong(word: str) -> bool:
    return SHORTEST <= len(word) <= LONGEST and word.isalpha()


def _near(word: str, said: Iterable[str]) -> list[str]:
    """The nearest words, those with the same first letter if there are any. None where one is another form of the same word,
    or where the word is one that the index does not count."""
    most = 2 if len(word) >= LONG else 1
    letters = set(word)
    found: dict[tuple[int, bool], list[str]] = defaultdict(list)
    for other in said:
        if abs(len(other) - len(word)) > most or len(letters.symmetric_difference(other)) > 2 * most:
            continue
        if other.isalpha() and (edits := distance(word, other, most)) <= most:
            found[edits, other[0] != word[0]].append(other)
    own = term_sequence(word)
    same = any(term_sequence(other) == own for others in found.values() for other in others)
    return found[min(found)] if found and own and not same else []


def _clearly_best(near: Sequence[str], passages: Sequence[frozenset[str]]) -> str:
    """The one in most passages, where it has :data:`CLEARLY` times as many as any that is not a form of the same word."""
    having = {word: sum(word in said for said in passages) for word in near}
    forms: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for word in near:
        forms[tuple(term_sequence(word))].append(word)
    counts = sorted((sum(having[word] for word in same) for same in forms.values()), reverse=True)
    if len(counts) > 1 and counts[0] < CLEARLY * counts[1]:
        return ""
    most_said = max(forms.values(), key=lambda same: sum(having[word] for word in same))
    return max(most_said, key=lambda word: (having[word], word))


def _in_its_case(word: str, instead: dict[str, str]) -> str:
    better = instead.get(word.lower(), "")
    if not better:
        return word
    return better.upper() if word.isupper() else better.capitalize() if word[0].isupper() else better
