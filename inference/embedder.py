"""Text to vectors: passages in batches for the index, one query at a time for a question.

What always holds: vectors are fp32, finite and L2-normalised, so that a dot product is a cosine;
passages come back in the order in which they went in; a batch is sized to hold the device for about
``TARGET_BATCH_S``, so that a query never waits long behind an ingestion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from inference.errors import InferenceError, WeightsCorrupt
from inference.lane import ComputeLane, LanePriority

T = TypeVar("T")
Vectors = npt.NDArray[np.float32]

TARGET_BATCH_S = 0.15
FIRST_BATCH_TOKENS = 512
MIN_BATCH_TOKENS = 64
MAX_BATCH_TOKENS = 65_536


class Embedder(Protocol):
    """What turns text into vectors, in process or remote."""

    name: str
    dimension: int
    max_tokens: int
    """Tokens that are read of one text, the model's own start and end tokens included; the rest is
    ignored."""

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        """``[n, dimension]``, in the order of ``texts``. ``on_batch`` is called with the number of texts
        done; what it raises ends the call (so it may cancel)."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """``[dimension]``."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text as ``max_tokens`` counts them."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer without truncation or padding, for chunking. Shared: do not change it."""
        ...


def plain_tokenizer(folder: Path) -> Tokenizer:
    """The folder's ``tokenizer.json`` without truncation or padding. Raises ``WeightsCorrupt``."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises nothing narrower
        raise WeightsCorrupt(f"The embedder's tokenizer cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class SentenceTransformerEmbedder:
    """An :class:`Embedder` over a sentence-transformers folder; nothing is looked up on the network.
    Thread-safe.

    With a ``lane`` every batch takes its turn there, queries before engine steps, passages after them.
    """

    def __init__(self, path: Path, name: str, device: str = "cpu", lane: ComputeLane | None = None) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        hide_progress: Callable[[], None] = transformers_logging.disable_progress_bar
        hide_progress()
        self.name = name
        try:
            model: Any = cast(Any, SentenceTransformer(str(path), device=device, local_files_only=True))
        except (OSError, ValueError) as error:
            raise WeightsCorrupt(f"The embedder {name} cannot be loaded: {error}.") from error
        self._model = model.eval()
        self._tokenizer = plain_tokenizer(path)
        self.dimension = int(model.get_embedding_dimension())
        self.max_tokens = int(model.max_seq_length)
        self._lane = ComputeLane() if lane is None else lane
        self._batch_tokens = FIRST_BATCH_TOKENS
        self._sizing = threading.Lock()

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._lane.run(LanePriority.INTERACTIVE, lambda: self._encode([text]))[0]
        return vector

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        lengths = [
            min(len(encoding.ids), self.max_tokens) for encoding in self._tokenizer.encode_batch(list(texts))
        ]
        order = sorted(range(len(texts)), key=lengths.__getitem__, reverse=True)
        done = 0
        while done < len(order):
            longest = max(1, lengths[order[done]])
            batch = order[done : done + max(1, self._batch_tokens // longest)]
            vectors[batch] = self._timed([texts[i] for i in batch], longest * len(batch))
            done += len(batch)
            if on_batch is not None:
                on_batch(done)
        return vectors

    def _timed(self, texts: list[str], tokens: int) -> Vectors:
        """Embeds one batch and moves the size of the next one towards the target time."""

        def compute() -> tuple[Vectors, float]:
            started = time.perf_counter()
            return self._encode(texts), time.perf_counter() - started

        vectors, seconds = self._lane.run(LanePriority.BATCH, compute)
        with self._sizing:
            ideal = tokens * TARGET_BATCH_S / max(seconds, 1e-6)
            eased = min(max(ideal, self._batch_tokens / 2), self._batch_tokens * 2)
            self._batch_tokens = int(min(max(eased, MIN_BATCH_TOKENS), MAX_BATCH_TOKENS))
        return vectors

    def _encode(self, texts: list[str]) -> Vectors:
        """One forward pass. Runs in the lane only: the model's own tokenizer must not be used by two
        threads."""
        vectors = np.asarray(
            self._model.encode(
                texts,
                batch_size=len(texts),
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            ),
            dtype=np.float32,
        )
        if not np.isfinite(vectors).all():
            raise InferenceError(f"The embedder {self.name} produced values that are not numbers.")
        return vectors
