"""Copies of a passage take one place in the results, which names the other documents, but none that is hidden."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4

import numpy as np
import pytest

from search.duplicates import MOST_COPIES, without_repeats
from search.hits import Hit
from search.index import Vector
from tenants.models import Organization
from tests.search.corpus_rows import collection, document
from tests.search.test_retrieval_shows_only_what_may_be_read import ask

LEASE = "The tenant pays the rent of 900 euros on the first day of each month to the landlord without any deduction"


def hit(text: str, *, document_id: UUID | None = None) -> Hit:
    return Hit(
        chunk_id=uuid4(), document_id=document_id or uuid4(), version_id=uuid4(), collection_id=uuid4(),
        collection_name="General", title=text[:20], media_type="text/plain", dated=date(2024, 1, 1), author="",
        language="en", page=1, start=0, end=len(text), text=text, headings=(), label="", within="", score=1.0, similarity=0.5,
    )  # fmt: skip


def collapsed(hits: list[Hit], *, far: bool = False) -> list[Hit]:
    """With embeddings that all are the same, or all at right angles."""
    rows: Vector = np.eye(len(hits), 8, dtype=np.float32) if far else np.full((len(hits), 8), 0.3, np.float32)
    return without_repeats(hits, {each.chunk_id: row for each, row in zip(hits, rows, strict=True)})


def test_the_better_hit_stays_and_names_the_later_ones() -> None:
    first, copy, nearly = hit(LEASE), hit(LEASE.upper().replace(" ", "  ")), hit(LEASE + " or delay")
    (kept,) = collapsed([first, copy, nearly])
    assert kept == replace(first, copies=(copy, nearly))
    assert kept.copied_in == (copy, nearly)


@pytest.mark.parametrize(
    "other",
    [
        LEASE.replace("900", "950"),
        LEASE + " 900",
        LEASE.replace("rent", "fee").replace("tenant", "lessee").replace("landlord", "owner"),
        LEASE[: len(LEASE) // 2],
    ],
    ids=["another number", "a number more", "other words", "half of it"],
)
def test_what_differs_in_a_number_or_in_words_stays_two(other: str) -> None:
    assert len(collapsed([hit(LEASE), hit(other)])) == 2


def test_embeddings_that_differ_keep_nearly_equal_words_apart_but_not_equal_ones() -> None:
    assert len(collapsed([hit(LEASE), hit(LEASE + " or delay")], far=True)) == 2
    assert len(collapsed([hit(LEASE), hit(LEASE)], far=True)) == 1


def test_repeats_within_a_document_are_not_named_and_each_document_is_named_once() -> None:
    mine, theirs = uuid4(), uuid4()
    repeated = [hit(LEASE, document_id=mine) for _ in range(3)] + [
        hit(LEASE, document_id=theirs) for _ in "ab"
    ]
    (kept,) = collapsed(repeated)
    assert [copy.document_id for copy in kept.copied_in] == [theirs]
    (many,) = collapsed([hit(LEASE) for _ in range(60)])
    assert len(many.copies) == MOST_COPIES


def test_passages_without_an_embedding_or_with_one_of_another_model_are_told_by_their_words() -> None:
    hits = [hit(LEASE), hit(LEASE + " or delay"), hit(LEASE)]
    rows: dict[UUID, Vector] = {
        hits[0].chunk_id: np.ones(8, np.float32),
        hits[1].chunk_id: np.ones(4, np.float32),
    }
    assert [kept.text for kept in without_repeats(hits, rows)] == [LEASE, LEASE + " or delay"]
    assert without_repeats([], {}) == []


@pytest.mark.django_db
def test_a_copy_that_may_not_be_read_is_never_named(acme: Organization, globex: Organization) -> None:
    document(acme, "Lease", [LEASE])
    document(acme, "Lease of the board", [LEASE], collection_name="Board")
    document(acme, "Lease (copy)", [LEASE])
    document(globex, "Their lease", [LEASE])
    (kept,) = ask(acme, "rent of the tenant", collection_ids=[collection(acme).id]).hits
    assert {kept.title, *(copy.title for copy in kept.copies)} == {"Lease", "Lease (copy)"}
    (kept,) = ask(acme, "rent of the tenant").hits
    assert {kept.title, *(copy.title for copy in kept.copies)} == {
        "Lease",
        "Lease (copy)",
        "Lease of the board",
    }
