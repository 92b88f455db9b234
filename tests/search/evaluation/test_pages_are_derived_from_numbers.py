"""Where a suite of files names no page, those with most of the answer's numbers count; years and small numbers tell nothing."""

from __future__ import annotations

from search.evaluation.derived import numbers, pages_with


def test_years_and_small_numbers_tell_nothing() -> None:
    assert numbers("In 2022, 12 of $82,959 million, or 3.5 %, fell to 117,154.") == {
        "82,959",
        "3.5",
        "117,154",
    }


def test_the_pages_with_most_of_the_numbers_count() -> None:
    pages = {1: frozenset({"82,959"}), 2: frozenset({"82,959", "117,154"}), 3: frozenset[str]()}
    assert pages_with({"82,959", "117,154", "9,999"}, pages) == [2]


def test_one_short_number_of_several_is_no_evidence_but_the_only_one_is() -> None:
    pages = {1: frozenset({"3.5"})}
    assert pages_with({"3.5", "117,154"}, pages) == []
    assert pages_with({"3.5"}, pages) == [1]
    assert pages_with([], pages) == []


def test_of_an_answer_from_several_files_one_long_number_is_evidence_in_its_own() -> None:
    wanted = {"82,959", "117,154", "3.5"}
    assert pages_with(wanted, {4: frozenset({"82,959"}), 5: frozenset({"3.5"})}) == [4]
    assert pages_with(wanted, {1: frozenset({"117,154"}), 2: frozenset[str]()}) == [1]
