"""The embedder of another process, behind the interface of the one in this process.

The service's tokenizer is fetched once, so that counting and chunking need no round trip."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence

import httpx
import numpy as np
from tokenizers import Tokenizer

from inference.embedder import Vectors
from inference.engine.remote.client import ask, connection, find_model
from inference.engine.remote.dialects import OURS
from inference.errors import InvalidRequest
from inference.routes import Remote

TEXTS_PER_REQUEST = 32


class RemoteEmbedder:
    """An :class:`inference.embedder.Embedder` over our service. Thread-safe."""

    def __init__(
        self, remote: Remote, *, wait_s: float = 0.0, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Asks the service what it runs; see :func:`find_model` for the errors."""
        entry = find_model(remote, "embed", wait_s=wait_s, cancelled=cancelled)
        if entry.get("owned_by") != OURS:
            raise InvalidRequest("Embeddings over the network come from Tessera's own inference service.")
        self.name: str = entry["id"]
        self.dimension, self.max_tokens = int(entry["dimension"]), int(entry["max_tokens"])
        self._client = httpx.Client(**connection(remote))
        self.tokenizer = Tokenizer.from_str(json.dumps(ask(self._client, "/v1/embeddings/tokenizer")))

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text).ids)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._ask([text], "query")[0]
        return vector

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for first in range(0, len(texts), TEXTS_PER_REQUEST):
            batch = list(texts[first : first + TEXTS_PER_REQUEST])
            vectors[first : first + len(batch)] = self._ask(batch, "passage")
            if on_batch is not None:
                on_batch(first + len(batch))
        return vectors

    def _ask(self, texts: list[str], kind: str) -> Vectors:
        body = {"model": self.name, "input": texts, "input_type": kind, "encoding_format": "base64"}
        answer = ask(self._client, "/v1/embeddings", body)
        rows = [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in answer["data"]]
        return np.stack(rows).astype(np.float32)
