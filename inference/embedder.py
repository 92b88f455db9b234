"""Text to vectors: passages in batches for the index, one query at a time for a question.

What always holds: vectors are fp32, finite and L2-normalised, so that a dot product is a cosine; queries and
passages are computed alike; passages come back in the order in which they went in; a batch is sized to hold the
device for about ``TARGET_BATCH_S``, so that a query never waits long behind an ingestion. On the compiled kernels a
vector is the same to the bit in every batch; through torch company may change its last bits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from inference.config import EmbeddingFormat, Kernels
from inference.errors import InferenceError, WeightsCorrupt
from inference.lane import ComputeLane, LanePriority

if TYPE_CHECKING:
    from inference.encoder import NativeEncoder

logger = logging.getLogger(__name__)

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


class TorchEncoder:
    """A sentence-transformers folder through torch, in fp32 or bf16. One call at a time: the model's own tokenizer
    must not be used by two threads. Raises ``WeightsCorrupt``."""

    def __init__(self, path: Path, name: str, device: str, *, bf16: bool) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        hide_progress: Callable[[], None] = transformers_logging.disable_progress_bar
        hide_progress()
        try:
            model: Any = cast(Any, SentenceTransformer(str(path), device=device, local_files_only=True))
        except (OSError, ValueError) as error:
            raise WeightsCorrupt(f"The embedder {name} cannot be loaded: {error}.") from error
        self._model = (model.bfloat16() if bf16 else model).eval()
        self.dimension = int(model.get_embedding_dimension())
        self.max_tokens = int(model.max_seq_length)

    def __call__(self, texts: Sequence[str]) -> Any:
        return self._model.encode(
            list(texts),
            batch_size=len(texts),
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )


class SentenceTransformerEmbedder:
    """An :class:`Embedder` over a sentence-transformers folder; nothing is looked up on the network.
    Thread-safe.

    With a ``lane`` every batch takes its turn there, queries before engine steps, passages after them. Where the compiled
    kernels cannot run the model, bf16 is computed by torch and int8 becomes fp32; the log says so. Raises
    ``WeightsCorrupt``.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        device: str = "cpu",
        lane: ComputeLane | None = None,
        *,
        weight_format: EmbeddingFormat = "auto",
        kernels: Kernels = "auto",
        num_threads: int = 0,
    ) -> None:
        self.name = name
        self._tokenizer = plain_tokenizer(path)
        native = None
        if device == "cpu" and weight_format != "fp32" and kernels != "off":
            native = _native(path, name, weight_format, kernels, num_threads)
        self._model = native or TorchEncoder(path, name, device, bf16=weight_format == "bf16")
        self.dimension, self.max_tokens = self._model.dimension, self._model.max_tokens
        self._cutting = plain_tokenizer(path)
        self._cutting.enable_truncation(self.max_tokens)
        self._lane = ComputeLane() if lane is None else lane
        self._batch_tokens = FIRST_BATCH_TOKENS
        self._sizing = threading.Lock()

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def embed_query(self, text: str) -> Vectors:
        ids = self._ids([text])
        vector: Vectors = self._lane.run(LanePriority.INTERACTIVE, lambda: self._encode([text], ids))[0]
        return vector

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        ids = self._ids(texts)
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]), reverse=True)
        done = 0
        while done < len(order):
            longest = max(1, len(ids[order[done]]))
            batch = order[done : done + max(1, self._batch_tokens // longest)]
            vectors[batch] = self._timed(
                [texts[i] for i in batch], [ids[i] for i in batch], longest * len(batch)
            )
            done += len(batch)
            if on_batch is not None:
                on_batch(done)
        return vectors

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._cutting.encode_batch(list(texts))]

    def _timed(self, texts: list[str], ids: list[list[int]], tokens: int) -> Vectors:
        """Embeds one batch and moves the size of the next one towards the target time."""

        def compute() -> tuple[Vectors, float]:
            started = time.perf_counter()
            return self._encode(texts, ids), time.perf_counter() - started

        vectors, seconds = self._lane.run(LanePriority.BATCH, compute)
        with self._sizing:
            ideal = tokens * TARGET_BATCH_S / max(seconds, 1e-6)
            eased = min(max(ideal, self._batch_tokens / 2), self._batch_tokens * 2)
            self._batch_tokens = int(min(max(eased, MIN_BATCH_TOKENS), MAX_BATCH_TOKENS))
        return vectors

    def _encode(self, texts: list[str], ids: list[list[int]]) -> Vectors:
        """One forward pass. Runs in the lane only."""
        model = self._model
        computed: Any = model(texts) if isinstance(model, TorchEncoder) else model(ids)
        vectors = np.asarray(computed, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise InferenceError(f"The embedder {self.name} produced values that are not numbers.")
        return vectors


def _native(
    path: Path, name: str, weight_format: EmbeddingFormat, kernels: Kernels, num_threads: int
) -> NativeEncoder | None:
    """The model on the compiled kernels, or None where they cannot run it."""
    from inference.encoder import NativeEncoder, unsupported
    from inference.kernels.build import KernelsUnavailable

    try:
        if (reason := unsupported(path)) is not None:
            raise KernelsUnavailable(f"The kernels cannot run the embedder {name}: {reason}.")
        return NativeEncoder(
            path,
            "bf16" if weight_format == "bf16" else "int8",
            num_threads=num_threads,
            instructions="" if kernels == "auto" or kernels == "off" else kernels,
        )
    except KernelsUnavailable as error:
        logger.warning("%s Embedding with torch, which is several times slower.", error)
        return None
