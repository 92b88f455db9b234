"""How well a passage supports a sentence: shared words, weighted by how rare they are, with every number
checked.

What always holds: scores lie in 0..1 and do not depend on the order of the passages; a sentence with a number
that the passage lacks, or says of something else, never reaches the attribution threshold.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from search.injected import claims, title_to_read
from search.passages import Source
from search.sentences import Span

ATTRIBUTE_FROM = 0.55
"""Support from which a sentence without a mark is attributed to a passage."""
ACCEPT_FROM = 0.3
"""Support from which the model's own mark is accepted."""
LONGEST_QUOTE = 300
"""Characters of two places that are quoted as one."""
ASKED = 0.5
"""What the words of the question weigh beside those of the sentence when its place is looked for: an answer of a few
words ("in 1066") stands in many places, and is cited from the one that is about the question."""
BEHIND = 0.1
"""What each place further behind in the ranking costs a passage. Both were chosen on 100 answers of a few words (SQuAD 2.0, the
half for tuning): cited passages that hold the evidence rose from .52 to .70."""

_WORD = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|\w+")
_NAME = re.compile(r"(?<=[\w,;:)'’] )(?:[A-Z][\w-]*[a-zà-ÿ][\w'’-]*|[A-Z]{2,}\b)")
"""A word with a capital letter in the midst of a sentence. Of 619 cited sentences of answers (SQuAD 2.0, CLAP NQ, for tuning) 11 have
a name that neither passage nor question has: 6 of these answers are wrong."""
_GERMAN = re.compile(r"\b(?:der|die|das|und|ist|sind|nicht|ein|eine|wird|werden|für|mit|von)\b")
_UNPARTED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_OWNER = re.compile(r"['’]s?\Z")
_PIECE = re.compile(r"\S+")
_SAYS_SOMETHING = re.compile(r"[.!?…。！？:;|\d]|\A\s*[-*•–]")
"""What a heading has not: a stop, a number or a bullet."""
_STOP_WORDS = """
a an the and or but of to in on at by for from with as is are was were be been being it its this
that these those there which who whom what when where how not no do does did has have had will would
can could should may might must about into than then also only such each per any all more most other
their they them he she his her you your we our i if so up out over under between according passage
passages document documents der die das den dem des ein eine einer eines einem einen und oder aber
von zu zum zur im in an am auf bei für mit aus als ist sind war waren wird werden wurde hat haben
hatte nicht kein keine auch nur es sie er wir ihr dass wenn wie was wer wo nach über unter vor bis
durch sich laut
"""
NUMBER_NEAR = 0.3
"""Share of the best sentence's common words that the sentence with a number needs, or the number is of something else.
Measured on questions with their answers as claims (SQuAD 2.0): 294 of 300 true ones stay supported, and of 189 in which
the number is another one of the same passage 89."""
NUMBER_WORDS = {
    word: str(n)
    for names in (
        "two three four five six seven eight nine ten eleven twelve",
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    )
    for n, word in enumerate(names.split(), 2)
} | {"twenty": "20", "thirty": "30", "sixty": "60", "ninety": "90", "hundred": "100"}
_STOP = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """The content words of a text, folded and cut to a stem; numbers stay whole."""
    return [_stem(w) for w in _WORD.findall(text.lower()) if w not in _STOP and (len(w) > 1 or w.isdigit())]


def _stem(word: str) -> str:
    if any(c.isdigit() for c in word):
        return word.replace(",", "")
    if word in NUMBER_WORDS:
        return word
    word = _OWNER.sub("", word)
    for ending in ("ing", "ed", "es", "en", "er", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


@dataclass(frozen=True, slots=True)
class Support:
    """The best place of one passage for a sentence: ``span`` is relative to the passage's text, ``literal``
    says that the passage has all numbers of the sentence, each in its title or beside other words of the sentence, and all
    names that the question does not have.
    ``said`` is how well the place alone says it and is about the question, which decides between supporting passages.
    """

    source: Source
    score: float
    span: Span
    literal: bool
    said: float


class Evidence:
    """The passages of one answer, prepared for many sentences. ``question``: what the sentences answer."""

    def __init__(self, sources: Sequence[Source], question: str = "") -> None:
        self.sources = {source.n: source for source in sources}
        self._asked = frozenset(words(question))
        self._behind = {s.n: place for place, s in enumerate(sorted(sources, key=lambda s: -s.score))}
        self._sentences = {source.n: claims(source.text) for source in sources}
        self._said = {
            source.n: [_both_ways(words(source.text[start:end])) for start, end in self._sentences[source.n]]
            for source in sources
        }
        self._states = {  # a heading that asks is about the question, but says nothing
            source.n: [not source.text[:end].endswith("?") for _, end in self._sentences[source.n]]
            for source in sources
        }
        self._words = {n: frozenset[str]().union(*said) for n, said in self._said.items()}
        self._titles = {
            source.n: _numbers(frozenset(words(title_to_read(source.title)))) for source in sources
        }
        counts = Counter(word for found in self._words.values() for word in found)
        self._weight = {w: math.log(1 + len(sources) / c) for w, c in counts.items()}
        self._rare = math.log(1 + max(1, len(sources)))

    def of(self, n: int, sentence: str) -> Support:
        """The support of passage ``n`` for ``sentence``, with the best one or two sentences of it."""
        source = self.sources[n]
        wanted = frozenset(words(sentence))
        if not self._sentences[n]:  # nothing but orders to the model: neither it nor its title says anything
            return Support(source, 0.0, (0, len(source.text)), False, 0.0)
        literal = self._has_numbers(n, wanted) and self._has_names(n, sentence)
        span, said = self._best_span(n, wanted)
        span = self._shortened(source.text, span, wanted)
        said -= BEHIND * self._behind[n]
        return Support(source, self._coverage(n, wanted, literal), span, literal, said)

    def ranked(self, sentence: str) -> list[Support]:
        """All passages, the best supporting one first; of those that support enough, the one that says it most plainly."""
        found = (self.of(n, sentence) for n in self.sources)
        return sorted(found, key=lambda s: (-min(s.score, ATTRIBUTE_FROM), -s.said, -s.score, s.source.n))

    def literal(self, answer: str) -> list[Support]:
        """The sentence that has an answer of a few words as it stands, in the same letters, and most of the question beside it:
        for answers without a content word ("In May", "the WHO") and scripts that do not part words.
        """
        plain = answer.strip(" .,;:!?\"'“”„()[]*_")
        if not plain:
            return []
        parted = plain[0].isascii() or not _UNPARTED.search(plain)
        pattern = re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)" if parted else re.escape(plain))
        found: list[Support] = []
        for n, source in self.sources.items():
            for span, have in zip(self._sentences[n], self._said[n], strict=True):
                if pattern.search(source.text, *span):
                    said = self._sum(have & self._asked) / (self._sum(self._asked) or 1.0)
                    found.append(Support(source, 1.0, span, True, said - BEHIND * self._behind[n]))
        return [max(found, key=lambda support: support.said)] if found else []

    def share_said(self, n: int, text: str) -> float:
        """The share of the content words of ``text`` that two neighbouring sentences of passage ``n`` say at most."""
        wanted, said = frozenset(words(text)), self._said[n]
        pairs = [one | other for one, other in pairwise(said)] or said
        total = self._sum(wanted)
        return max((self._sum(wanted & pair) / total for pair in pairs), default=0.0) if total else 0.0

    def _coverage(self, n: int, wanted: frozenset[str], literal: bool) -> float:
        total = self._sum(wanted)
        if not total:
            return 0.0
        score = self._sum(wanted & (self._words[n] | self._titles[n])) / total
        return score if literal else min(score * 0.6, ATTRIBUTE_FROM - 0.01)

    def _has_numbers(self, n: int, wanted: frozenset[str]) -> bool:
        plain = wanted - (numbers := _numbers(wanted))
        common = [self._sum(plain & said) for said in self._said[n]]
        enough = NUMBER_NEAR * max(common, default=0.0)
        return all(
            any(number in said and c >= enough for said, c in zip(self._said[n], common, strict=True))
            for number in numbers - self._titles[n]
        )

    def _has_names(self, n: int, sentence: str) -> bool:
        if _GERMAN.search(sentence):  # where every noun is written like a name
            return True
        known = self._words[n] | self._asked | frozenset(words(title_to_read(self.sources[n].title)))
        return all(word in known for name in _NAME.findall(sentence) for word in words(name))

    def _sum(self, of: frozenset[str]) -> float:
        return sum(self._weigh(word) for word in of)

    def _weigh(self, word: str) -> float:
        weight = self._weight.get(word, self._rare)
        return weight * 1.25 if any(c.isdigit() for c in word) else weight

    def _best_span(self, n: int, wanted: frozenset[str]) -> tuple[Span, float]:
        """The one or two sentences of passage ``n`` that say most of ``wanted``, and how well they do."""
        spans = self._sentences[n]
        text = self.sources[n].text
        if not spans:
            return (0, len(text)), 0.0
        found = self._said[n]
        about = [have & self._asked if self._states[n][i] else frozenset() for i, have in enumerate(found)]
        best, span = -1.0, spans[0]
        for i, have in enumerate(found):
            heads = i + 1 < len(spans) and not _SAYS_SOMETHING.search(text[slice(*spans[i])])
            score = self._overlap(wanted, have, about[i], to_the_point=0.0 if heads else 0.25)
            if score > best:
                best, span = score, spans[i]
            if i + 1 < len(spans) and not text[spans[i][1] : spans[i + 1][0]].strip():
                pair = self._overlap(wanted, have | found[i + 1], about[i] | about[i + 1]) - 0.15
                if pair > best and spans[i + 1][1] - spans[i][0] <= LONGEST_QUOTE:
                    best, span = pair, (spans[i][0], spans[i + 1][1])
        return span, best

    def _shortened(self, text: str, span: Span, wanted: frozenset[str]) -> Span:
        """Of a long sentence the run of at most :data:`LONGEST_QUOTE` characters, whole words, that says most of ``wanted``;
        of equal ones the first, from the beginning of a clause where that says as much.
        """
        start, end = span
        if end - start <= LONGEST_QUOTE:
            return span
        found = [
            (start + m.start(), start + m.end(), frozenset(words(m.group())))
            for m in _PIECE.finditer(text[start:end])
        ]
        best, kept = -1.0, span
        for i, (first, _, _) in enumerate(found):
            last = bisect_right(found, first + LONGEST_QUOTE, key=lambda piece: piece[1])
            run = found[i:last]
            said = frozenset[str]().union(*(piece[2] for piece in run))
            begins = i == 0 or text[found[i - 1][1] - 1] in ",;:–—)"
            score = (
                self._sum(wanted & said) + ASKED * self._sum((self._asked - wanted) & said) + 0.01 * begins
            )
            if run and score > best + 1e-9:
                best, kept = score, (first, run[-1][1])
        return kept

    def _overlap(
        self,
        wanted: frozenset[str],
        have: frozenset[str],
        about: frozenset[str],
        *,
        to_the_point: float = 0.25,
    ) -> float:
        """How much of ``wanted`` is said, and of the other words of the question by ``about``; ``to_the_point`` is what saying
        nothing else adds.
        """
        shared = self._sum(wanted & have)
        recall = shared / (self._sum(wanted) or 1.0)
        precision = shared / (self._sum(have) or 1.0)
        asked = self._sum(about - wanted) / (self._sum(self._asked - wanted) or 1.0)
        return recall + to_the_point * precision + ASKED * asked


def _both_ways(found: Sequence[str]) -> frozenset[str]:
    """A passage's words with small numbers in digits and in words: "five years" supports "5 years" and back."""
    said = frozenset(found)
    return said | {
        other for word, n in NUMBER_WORDS.items() for this, other in ((word, n), (n, word)) if this in said
    }


def _numbers(found: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in found if any(c.isdigit() for c in word))
