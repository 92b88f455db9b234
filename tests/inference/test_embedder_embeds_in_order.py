from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from inference.embedder import SentenceTransformerEmbedder
from inference.errors import InferenceError, WeightsCorrupt


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(minilm, "all-MiniLM-L6-v2")


def test_passages_come_back_normalised_and_in_order(embedder: SentenceTransformerEmbedder) -> None:
    texts = [f"{'word ' * (i * 7 % 90)}number {i}" for i in range(40)]
    vectors = embedder.embed_passages(texts)
    assert vectors.shape == (40, embedder.dimension) == (40, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    for i in (0, 13, 39):
        np.testing.assert_allclose(vectors[i], embedder.embed_query(texts[i]), atol=1e-5)


def test_meaning_is_near(embedder: SentenceTransformerEmbedder) -> None:
    cat, kitten, invoice = embedder.embed_passages(
        ["A cat sleeps.", "A kitten naps.", "Invoice 4711 is due."]
    )
    assert cat @ kitten > cat @ invoice + 0.2


def test_progress_counts_every_text_and_can_cancel(embedder: SentenceTransformerEmbedder) -> None:
    seen: list[int] = []
    embedder.embed_passages(["a long passage " * 60] * 30, on_batch=seen.append)
    assert seen[-1] == 30
    assert seen == sorted(set(seen))
    assert len(seen) > 1

    class Cancelled(Exception):
        pass

    def cancel(done: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        embedder.embed_passages(["x", "y"], on_batch=cancel)


def test_tokens_are_counted_with_the_models_own_marks(embedder: SentenceTransformerEmbedder) -> None:
    assert embedder.max_tokens == 256
    assert embedder.count_tokens("") == 2
    assert embedder.count_tokens("hello world") == 4
    assert embedder.count_tokens("word " * 1_000) == 1_002
    assert embedder.tokenizer.truncation is None
    assert embedder.tokenizer.padding is None


def test_no_texts_give_no_vectors(embedder: SentenceTransformerEmbedder) -> None:
    assert embedder.embed_passages([]).shape == (0, 384)


def test_threads_get_their_own_vectors(embedder: SentenceTransformerEmbedder) -> None:
    texts = [f"topic {i} " * (i + 1) for i in range(8)]
    expected = embedder.embed_passages(texts)
    failures: list[float] = []

    def ask(i: int) -> None:
        for _ in range(5):
            failures.extend(
                d for d in [float(np.abs(embedder.embed_query(texts[i]) - expected[i]).max())] if d > 1e-5
            )

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_values_that_are_no_numbers_are_refused(
    embedder: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "_model", lambda ids: np.full((len(ids), 384), np.nan))
    with pytest.raises(InferenceError):
        embedder.embed_query("x")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsCorrupt):
        SentenceTransformerEmbedder(tmp_path, "nothing")
