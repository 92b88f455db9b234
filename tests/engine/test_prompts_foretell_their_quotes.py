from __future__ import annotations

import random
from collections.abc import Sequence

from inference.sampling.prompt_lookup import LONGEST, MAX_CANDIDATES, MAX_DRAFT, PromptLookup


def grown(token_ids: Sequence[int]) -> PromptLookup:
    """An index that saw its text grow token by token."""
    lookup = PromptLookup()
    for length in range(1, len(token_ids) + 1):
        lookup.propose(token_ids[:length], 1)
    return lookup


def test_what_followed_before_is_drafted_up_to_the_limit() -> None:
    text = [*range(100, 120), 7, 103, 104]
    assert PromptLookup().propose(text, 3) == [105, 106, 107]
    assert PromptLookup().propose(text, 0) == []
    assert PromptLookup().propose([*range(100, 120), 7, 104], 3) == [], "one token is no match"


def test_the_longest_match_goes_before_the_latest() -> None:
    text = [1, 2, 3, 4, 50, 9, 3, 4, 60, 1, 2, 3, 4]
    assert PromptLookup().propose(text, 1) == [50]
    assert PromptLookup().propose([9, 8, 3, 4, 50, 9, 7, 3, 4, 60, 1, 6, 3, 4], 1) == [60], (
        "equals: the latest"
    )


def test_a_text_that_repeats_is_continued_with_itself() -> None:
    assert PromptLookup().propose([5, 6, 7, 5, 6, 7, 5, 6], 4) == [7, 5, 6, 7]


def test_an_index_that_grew_finds_what_one_built_at_once_finds() -> None:
    chance = random.Random(4)
    for _ in range(50):
        text = [chance.randrange(4) for _ in range(chance.randrange(2, 80))]
        assert grown(text).propose(text, 5) == PromptLookup().propose(text, 5)


def test_the_longest_match_is_found_where_a_plain_search_finds_it() -> None:
    chance = random.Random(5)
    for _ in range(200):
        text = [chance.randrange(5) for _ in range(40)]
        matches = {}
        for place in range(1, len(text) - 1):
            size = 0
            while size < min(LONGEST, place + 1) and text[place - size] == text[-1 - size]:
                size += 1
            if size >= 2:
                matches[place] = size
        recent = sorted(matches, reverse=True)[:MAX_CANDIDATES]
        best = max(recent, key=lambda place: (matches[place], place), default=None)
        assert PromptLookup().propose(text, 1) == ([] if best is None else [text[best + 1]])


def test_a_token_costs_one_entry_and_a_look_up_is_bounded() -> None:
    reads = 0

    class Counted(list[int]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            nonlocal reads
            reads += 1
            return super().__getitem__(index)

    text = Counted([1, 2] * 5_000)
    lookup = PromptLookup()
    lookup.propose(text, 1)
    text.append(1)
    reads = 0
    lookup.propose(text, 8)
    assert reads <= 2 * LONGEST * MAX_CANDIDATES + 16


def test_drafts_grow_while_they_are_right_and_shrink_when_they_are_wrong() -> None:
    text = list(range(50)) * 2 + [0, 1, 2, 3]
    lookup = PromptLookup()
    for _ in range(12):
        length = len(lookup.propose(text, 100))
        lookup.record(length, length)
    assert length == MAX_DRAFT
    for _ in range(12):
        lookup.record(MAX_DRAFT, 0)
    assert len(lookup.propose(text, 100)) == 1
    assert lookup.propose([*text, 49, 2, 3], 100) == [], "in doubt a pair is too little to go by"
