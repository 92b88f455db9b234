from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from inference.config import Kernels
from inference.embedder import SentenceTransformerEmbedder, TorchEncoder
from inference.encoder import NativeEncoder

TEXTS = [f"{'The warranty of arm R7 ends after two years. ' * (i * 5 % 31)}Part {i}." for i in range(24)]


@pytest.fixture(scope="module")
def reference(minilm: Path) -> np.ndarray:
    embedder = SentenceTransformerEmbedder(minilm, "minilm", weight_format="fp32")
    assert isinstance(embedder._model, TorchEncoder)
    return embedder.embed_passages(TEXTS)


@pytest.mark.parametrize("kernels", ["auto", "avx2"])
@pytest.mark.parametrize(("weight_format", "least"), [("bf16", 0.9999), ("int8", 0.995)])
def test_vectors_point_where_torchs_point(
    minilm: Path, reference: np.ndarray, weight_format: str, least: float, kernels: Kernels
) -> None:
    embedder = SentenceTransformerEmbedder(minilm, "minilm", weight_format=weight_format, kernels=kernels)  # type: ignore[arg-type]
    assert isinstance(embedder._model, NativeEncoder)
    vectors = embedder.embed_passages(TEXTS)
    assert (vectors * reference).sum(axis=1).min() > least
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_neighbours_and_threads_change_no_bit(minilm: Path) -> None:
    together = SentenceTransformerEmbedder(minilm, "minilm", num_threads=2)
    alone = SentenceTransformerEmbedder(minilm, "minilm", num_threads=1)
    vectors = together.embed_passages(TEXTS)
    assert together._model.dimension == 384
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_array_equal(alone.embed_query(text), vector)


def test_a_text_is_cut_where_the_model_ends(minilm: Path) -> None:
    embedder = SentenceTransformerEmbedder(minilm, "minilm")
    words = "word " * 400
    vectors = embedder.embed_passages([words, words + "and much more", "word"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.999


def test_a_model_that_the_kernels_do_not_know_is_computed_by_torch(
    minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cls"
    shutil.copytree(minilm, folder, symlinks=False)
    pooling = folder / "1_Pooling" / "config.json"
    changed = json.loads(pooling.read_text()) | {
        "pooling_mode_mean_tokens": False,
        "pooling_mode_cls_token": True,
    }
    pooling.write_text(json.dumps(changed))
    embedder = SentenceTransformerEmbedder(folder, "cls", weight_format="int8")
    assert isinstance(embedder._model, TorchEncoder)
    assert "it pools by pooling_mode_cls_token" in caplog.text
    assert embedder.embed_query("hello").shape == (384,)


def test_kernels_that_are_off_are_not_used(minilm: Path) -> None:
    assert isinstance(SentenceTransformerEmbedder(minilm, "minilm", kernels="off")._model, TorchEncoder)
