"""Every index finds, filters, forgets and counts alike."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from search.index.base import IndexFilter, VectorIndex
from tests.index.conftest import MakeIndex
from tests.index.points import CONTRACTS, DIMENSION, EVERYTHING, MANUALS, point, unit


def found(
    index: VectorIndex, text: str = "", seed: int = 0, filter: IndexFilter = EVERYTHING, limit: int = 10
) -> list[uuid.UUID]:
    return [match.id for match in index.query(text=text, dense=unit(seed), filter=filter, limit=limit)]


def test_the_nearest_vector_comes_first(index: VectorIndex) -> None:
    points = [point(seed) for seed in range(20)]
    index.upsert(points)
    assert found(index, seed=7)[0] == points[7].id


def test_words_find_what_vectors_do_not(index: VectorIndex) -> None:
    points = [point(seed, "the weather in the mountains") for seed in range(1, 200)]
    target = point(500, "the invoice number is QX-7741", dense=-unit(0))
    index.upsert([*points, target])
    assert target.id in found(index, text="QX-7741", limit=50)
    assert target.id not in found(index, text="mountains", limit=50)


@pytest.mark.parametrize(
    "query", ["QX-7741", "When was the invoice QX-7741 of the harbour paid?", "zephyr", "zephyr invoice"]
)
def test_the_one_passage_with_what_is_meant_exactly_comes_before_what_is_near(
    index: VectorIndex, query: str
) -> None:
    near = [point(seed, f"invoice of the harbour, number {seed}") for seed in range(1, 200)]
    target = point(500, "zephyr QX-7741", dense=unit(1000))
    index.upsert([*near, target])
    assert target.id in found(index, text=query, seed=7, limit=10)


def test_without_a_vector_only_passages_with_one_of_the_words_are_found(index: VectorIndex) -> None:
    points = [point(seed, "the weather in the mountains") for seed in range(1, 30)]
    target = point(500, "an impeller of bronze")
    index.upsert([*points, target])

    def having(text: str) -> list[uuid.UUID]:
        return [m.id for m in index.query(text=text, dense=None, filter=EVERYTHING, limit=5)]

    assert having("impellers") == [target.id]
    assert having("impelller") == having("the") == []


def test_a_match_in_words_and_vectors_beats_either_alone(index: VectorIndex) -> None:
    points = [point(seed, "quarterly report of the harbour") for seed in range(1, 60)]
    both = point(100, "turbine maintenance manual", dense=unit(0))
    words = point(101, "turbine maintenance manual", dense=-unit(0))
    index.upsert([*points, both, words])
    matches = index.query(text="turbine manual", dense=unit(0), filter=EVERYTHING, limit=5)
    assert matches[0].id == both.id
    assert matches[0].score > matches[1].score


def test_words_are_stemmed_and_case_does_not_matter(index: VectorIndex) -> None:
    points = [point(seed, "nothing of interest") for seed in range(1, 100)]
    target = point(200, "Foxes RUNNING through Zürich", dense=-unit(0))
    index.upsert([*points, target])
    for query in ("fox", "runs", "zürich"):
        assert target.id in found(index, text=query, limit=50), query
    assert target.id not in found(index, text="wolf", limit=50)


def test_a_question_of_stop_words_alone_is_answered_by_vectors(index: VectorIndex) -> None:
    points = [point(seed, "the and of") for seed in range(10)]
    index.upsert(points)
    assert found(index, text="the of and", seed=3)[0] == points[3].id


def test_only_the_collections_that_are_named_are_searched(index: VectorIndex) -> None:
    contract, manual = point(1, "pump", collection=CONTRACTS), point(2, "pump", collection=MANUALS)
    index.upsert([contract, manual])
    assert found(index, "pump", filter=IndexFilter(collection_ids=(CONTRACTS,))) == [contract.id]
    assert found(index, "pump", filter=IndexFilter(collection_ids=(MANUALS,))) == [manual.id]
    assert found(index, "pump", filter=IndexFilter(collection_ids=(uuid.uuid4(),))) == []


def test_no_readable_collection_means_no_result(index: VectorIndex) -> None:
    index.upsert([point(1, "pump")])
    assert found(index, "pump", filter=IndexFilter(collection_ids=())) == []


def test_an_empty_list_of_documents_or_types_matches_nothing(index: VectorIndex) -> None:
    index.upsert([point(1, "pump")])
    assert found(index, "pump", filter=IndexFilter(collection_ids=(CONTRACTS,), document_ids=())) == []
    assert found(index, "pump", filter=IndexFilter(collection_ids=(CONTRACTS,), media_types=())) == []


def test_filters_narrow_by_document_and_type(index: VectorIndex) -> None:
    pdf, text = point(1, "pump"), point(2, "pump", media_type="text/plain")
    index.upsert([pdf, text])
    by_document = IndexFilter(collection_ids=(CONTRACTS,), document_ids=(text.document_id,))
    by_type = IndexFilter(collection_ids=(CONTRACTS,), media_types=("application/pdf", "text/html"))
    assert found(index, "pump", filter=by_document) == [text.id]
    assert found(index, "pump", filter=by_type) == [pdf.id]


def test_filters_narrow_by_author_whatever_case_and_white_space(index: VectorIndex) -> None:
    ada = point(1, "pump", author="Ada  Lovelace")
    both = point(2, "pump", author="Charles Babbage; ada lovelace ;")
    nobody = point(3, "pump")
    index.upsert([ada, both, nobody])

    def by(*names: str) -> set[uuid.UUID]:
        return set(found(index, "pump", filter=IndexFilter(collection_ids=(CONTRACTS,), authors=names)))

    assert by(" ADA Lovelace") == {ada.id, both.id}
    assert by("Charles Babbage", "Grace Hopper") == {both.id}
    assert by("Charles Babbage; Ada Lovelace ;") == {both.id}
    assert by("Lovelace") == by("") == by() == set()


def test_filters_narrow_by_language_and_all_conditions_hold_at_once(index: VectorIndex) -> None:
    german = point(1, "pump", language="de", author="Ada")
    english = point(2, "pump", language="en", author="Ada")
    unknown = point(3, "pump", author="Ada")
    hidden = point(4, "pump", language="de", author="Ada", collection=MANUALS)
    index.upsert([german, english, unknown, hidden])

    def of(*codes: str, authors: tuple[str, ...] | None = None) -> set[uuid.UUID]:
        mine = IndexFilter(
            collection_ids=(CONTRACTS,), other_collection_ids=(MANUALS,), languages=codes, authors=authors
        )
        return set(found(index, "pump", filter=mine))

    assert of("de") == of("DE") == {german.id}
    assert of("de", "en", authors=("ada",)) == {german.id, english.id}
    assert of("de", authors=("Bob",)) == of("") == of() == set()


def test_dates_filter_with_both_ends_included(index: VectorIndex) -> None:
    points = [point(day, "pump", dated=day) for day in range(10)]
    index.upsert([*points, point(99, "pump", dated=None)])

    def between(first: int | None, last: int | None) -> set[uuid.UUID]:
        filter = IndexFilter(collection_ids=(CONTRACTS,), dated_from=first, dated_to=last)
        return set(found(index, "pump", filter=filter, limit=20))

    assert between(3, 5) == {p.id for p in points[3:6]}
    assert between(None, 2) == {p.id for p in points[:3]}
    assert between(8, None) == {p.id for p in points[8:]}
    assert len(between(None, None)) == 11


def test_ranges_of_days_are_alternatives_of_which_one_holds(index: VectorIndex) -> None:
    points = [point(20 + day, "pump", dated=day) for day in range(-5, 10)]
    index.upsert([*points, point(99, "pump", dated=None)])
    filter = IndexFilter(collection_ids=(CONTRACTS,), dated_in=((-5, -4), (7, 8)), dated_to=7)
    assert set(found(index, "pump", filter=filter, limit=20)) == {
        p.id for p in points if p.dated in (-5, -4, 7)
    }
    nothing = IndexFilter(collection_ids=(CONTRACTS,), dated_in=())
    assert found(index, "pump", filter=nothing) == []


def test_a_date_before_1970_is_found(index: VectorIndex) -> None:
    old = point(1, "charter", dated=-40_000)
    index.upsert([old, point(2, "charter", dated=10)])
    filter = IndexFilter(collection_ids=(CONTRACTS,), dated_to=-1)
    assert found(index, "charter", filter=filter) == [old.id]


def test_the_limit_is_kept(index: VectorIndex) -> None:
    index.upsert([point(seed, "pump") for seed in range(200)])
    assert len(found(index, "pump", limit=7)) == 7
    assert len(found(index, "pump", limit=150)) == 150
    with pytest.raises(ValueError, match="limit"):
        found(index, "pump", limit=0)


def test_the_same_id_replaces_the_point(index: VectorIndex) -> None:
    index.upsert([point(1, "pump", collection=CONTRACTS)])
    index.upsert([point(1, "pump", collection=MANUALS)])
    assert index.count() == 1
    assert found(index, "pump", filter=IndexFilter(collection_ids=(CONTRACTS,))) == []


def test_deleted_points_are_gone(index: VectorIndex) -> None:
    points = [point(seed, "pump") for seed in range(6)]
    index.upsert(points)
    index.delete([points[0].id, points[1].id, uuid.uuid4()])
    index.delete([])
    assert index.ids() == {p.id for p in points[2:]}


def test_a_deleted_document_is_gone_whole_and_alone(index: VectorIndex) -> None:
    document = uuid.uuid4()
    mine, other = [point(seed, "pump", document=document) for seed in range(5)], point(10, "pump")
    index.upsert([*mine, other])
    index.delete_document(document)
    assert index.ids() == {other.id}
    assert found(index, "pump", seed=2) == [other.id]


def test_a_deleted_version_is_gone_whole_and_alone(index: VectorIndex) -> None:
    old, new = point(1, "pump"), point(2, "pump")
    index.upsert([old, new])
    index.delete_version(old.version_id)
    assert index.ids() == {new.id}


def test_all_ids_are_listed_beyond_one_page(index: VectorIndex) -> None:
    points = [point(seed) for seed in range(2300)]
    index.upsert(points)
    assert index.count() == 2300
    assert index.ids() == {p.id for p in points}
    assert len(index.vectors([p.id for p in points])) == 2300


def test_vectors_come_back_bit_for_bit(index: VectorIndex) -> None:
    rounded = [unit(seed).astype(np.float16).astype(np.float32) for seed in range(5)]
    points = [point(seed, dense=vector) for seed, vector in enumerate(rounded)]
    index.upsert(points)
    stored = index.vectors([*(p.id for p in points), uuid.uuid4()])
    assert stored.keys() == {p.id for p in points}
    for p in points:
        assert stored[p.id].dtype == np.float32
        assert stored[p.id].tobytes() == p.dense.tobytes()


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIMENSION, np.nan, dtype=np.float32),
        np.array([np.inf, *[0] * (DIMENSION - 1)], dtype=np.float32),
        np.zeros(DIMENSION, dtype=np.float32),
        np.full(DIMENSION, 2.0, dtype=np.float32),
        unit(1)[:-1],
        np.append(unit(1), np.float32(0)),
    ],
    ids=["nan", "infinite", "zero", "too-long", "short-dimension", "long-dimension"],
)
def test_a_vector_that_is_no_unit_vector_is_refused(index: VectorIndex, vector: np.ndarray) -> None:
    good = point(1, "pump")
    with pytest.raises(ValueError, match="vector"):
        index.upsert([good, point(2, "pump", dense=vector)])
    assert index.count() == 0
    with pytest.raises(ValueError, match="vector"):
        index.query(text="pump", dense=vector, filter=EVERYTHING, limit=3)


def test_a_passage_without_any_term_is_still_found_by_its_vector(index: VectorIndex) -> None:
    index.upsert([point(seed, "— … —") for seed in range(5)])
    assert len(found(index, "pump", seed=2)) == 5


def test_two_organisations_never_meet(make_index: MakeIndex) -> None:
    acme, globex = make_index("acme"), make_index("globex")
    mine, theirs = point(1, "pump"), point(2, "pump")
    acme.upsert([mine])
    globex.upsert([theirs])
    acme.delete([theirs.id])
    acme.delete_document(theirs.document_id)
    assert acme.vectors([theirs.id]) == {}
    assert (acme.ids(), globex.ids()) == ({mine.id}, {theirs.id})
    assert found(acme, "pump", seed=2) == [mine.id]
    acme.drop()
    assert globex.ids() == {theirs.id}


def test_drop_empties_and_ensure_starts_again(index: VectorIndex) -> None:
    index.upsert([point(1, "pump")])
    index.drop()
    index.drop()
    index.ensure()
    assert index.count() == 0
    index.upsert([point(2, "pump")])
    assert found(index, "pump") == [point(2).id]


def test_a_closed_index_answers_nothing_and_its_points_stay(make_index: MakeIndex) -> None:
    first = make_index("acme")
    first.upsert([point(1, "pump")])
    first.flush()
    first.close()
    first.close()
    with pytest.raises(Exception, match="closed"):
        first.count()
    assert make_index("acme").ids() == {point(1).id}


def test_who_may_read_every_collection_finds_points_of_each_and_other_conditions_still_hold(
    index: VectorIndex,
) -> None:
    contract = point(1, "the boiler", collection=CONTRACTS, media_type="application/pdf")
    manual = point(2, "the boiler", collection=MANUALS, media_type="text/html")
    elsewhere = point(3, "the boiler", collection=uuid.UUID(int=77), media_type="text/html")
    index.upsert([contract, manual, elsewhere])
    all_of_them = IndexFilter(collection_ids=(CONTRACTS,), other_collection_ids=())
    assert set(found(index, "boiler", filter=all_of_them)) == {contract.id, manual.id, elsewhere.id}
    pages = IndexFilter(collection_ids=(CONTRACTS,), other_collection_ids=(), media_types=("text/html",))
    assert set(found(index, "boiler", filter=pages)) == {manual.id, elsewhere.id}
    nothing = IndexFilter(collection_ids=(), other_collection_ids=())
    assert found(index, "boiler", filter=nothing) == []


@pytest.mark.parametrize("others", [(MANUALS,), (MANUALS, uuid.UUID(int=77)), None])
def test_the_other_collections_are_hidden_however_many_they_are(
    index: VectorIndex, others: tuple[uuid.UUID, ...] | None
) -> None:
    contract = point(1, "the boiler", collection=CONTRACTS, media_type="application/pdf")
    page = point(2, "the boiler", collection=CONTRACTS, media_type="text/html")
    hidden = [point(seed, "the boiler", collection=MANUALS, media_type="text/html") for seed in range(3, 20)]
    index.upsert([contract, page, *hidden])
    mine = IndexFilter(collection_ids=(CONTRACTS,), other_collection_ids=others)
    assert set(found(index, "boiler", filter=mine)) == {contract.id, page.id}
    pages = IndexFilter(collection_ids=(CONTRACTS,), other_collection_ids=others, media_types=("text/html",))
    assert set(found(index, "boiler", filter=pages)) == {page.id}


def test_words_of_the_question_before_count_half(index: VectorIndex) -> None:
    others = [point(seed, "weather of the mountains") for seed in range(1, 60)]
    now = point(100, "impeller", dense=-unit(0))
    before = point(101, "gasket", dense=-unit(0))
    index.upsert([*others, now, before])
    matches = index.query(text="impeller", earlier="gasket", dense=unit(0), filter=EVERYTHING, limit=60)
    scores = {match.id: match.score for match in matches}
    assert scores[now.id] > scores[before.id] > 0
    alone = index.query(text="impeller", dense=unit(0), filter=EVERYTHING, limit=10)
    assert before.id not in {match.id for match in alone}
