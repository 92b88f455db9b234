"""Tessera's own inference service with an embedder that hashes words: ``python -m tests.faults.words_service PORT KEY``.

It starts in a second and embeds in a millisecond, so that a test can kill its clients a hundred times. The wire, the
tokenizer and the length of the vectors are the product's own; the same text always has the same vector, and texts that
share words are near. There is no language model.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence

import numpy as np
import uvicorn

from inference import catalog
from inference.embedder import Vectors, plain_tokenizer
from inference.environment import config_from_environment
from inference.runtime import Runtime
from inference.service import create_app

MODEL = "all-MiniLM-L6-v2"
DIMENSION = 384


class WordsEmbedder:
    """An :class:`inference.embedder.Embedder`: each word adds 1 or -1 at a place of its own."""

    name = MODEL
    dimension = DIMENSION
    max_tokens = 256

    def __init__(self) -> None:
        self.tokenizer = plain_tokenizer(catalog.path(MODEL, config_from_environment().models_dir))

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.stack([self.embed_query(text) for text in texts])
        if on_batch is not None:
            on_batch(len(texts))
        return vectors

    def embed_query(self, text: str) -> Vectors:
        vector = np.zeros(DIMENSION, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
            vector[int.from_bytes(digest[:3], "big") % DIMENSION] += 1 if digest[3] % 2 else -1
        length = float(np.linalg.norm(vector))
        if length == 0.0:
            vector[0] = length = 1.0
        return vector / np.float32(length)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text).ids)


def main() -> None:
    app = create_app(Runtime.of(embedder=WordsEmbedder()), sys.argv[2])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
