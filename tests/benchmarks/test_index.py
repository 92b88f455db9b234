"""The benchmark of the index asks what it says that it asks, at a size for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import Corpus, many, one


def test_the_same_number_is_the_same_passage_and_vectors_are_like_rows() -> None:
    first, second = Corpus(50), Corpus(50)
    a, b = first.points(7, 8)[0], second.points(7, 8)[0]
    assert (a.id, a.text, a.collection_id) == (b.id, b.text, b.collection_id)
    assert a.dense.tobytes() == b.dense.tobytes()
    assert a.dense.tobytes() == a.dense.astype(np.float16).astype(np.float32).tobytes()
    assert np.linalg.norm(a.dense) == pytest.approx(1, abs=1e-3)


def test_one_organisation_is_measured_before_and_after_its_graph(tmp_path: Path) -> None:
    found = one(tmp_path, 600, 3)
    assert (
        found["as_good_among_first_ten"] > 0.9
    )  # too few for a graph: the same passages, but for equal scores
    assert found["plain"].keys() == found["graph"].keys() == {"1 of 10 collections", "5 of 10", "all"}
    assert found["memory_graph"]["resident_mb"] > 0


def test_many_organisations_are_asked_open_and_closed(tmp_path: Path) -> None:
    found = many(tmp_path, organizations=6, passages=20, most_open=2)
    assert found["closed"]["p50_ms"] > 0
    assert found["open"]["p50_ms"] > 0
    assert found["memory"]["open_files"] > found["memory_empty"]["open_files"]
