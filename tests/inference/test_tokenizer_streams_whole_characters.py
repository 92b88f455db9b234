from __future__ import annotations

import random

from inference.loading.checkpoint import Checkpoint


def test_pieces_are_whole_characters_and_add_up(checkpoint: Checkpoint) -> None:
    text = "Grüße, 你好 👩‍👩‍👧 — naïve"
    tokens = checkpoint.tokenizer.encode(text)
    stream = checkpoint.tokenizer.stream()
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) + stream.flush() == text
    assert all("\ufffd" not in piece for piece in pieces)
    assert "" in pieces


def test_any_tokens_stream_to_what_they_decode_to(checkpoint: Checkpoint) -> None:
    chance = random.Random(3)
    for _ in range(200):
        tokens = [chance.randrange(checkpoint.config.vocab_size) for _ in range(30)]
        stream = checkpoint.tokenizer.stream()
        streamed = "".join(stream.push(token) for token in tokens) + stream.flush()
        assert streamed == checkpoint.tokenizer.decode(tokens)
