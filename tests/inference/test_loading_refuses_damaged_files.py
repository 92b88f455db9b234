from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from inference.errors import WeightsCorrupt, WeightsMissing
from inference.loading.checkpoint import load_checkpoint
from inference.loading.gguf import GgufFile


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.arange(64, dtype=np.float32).reshape(8, 8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_intact_small_file_is_read(small: Path) -> None:
    file = GgufFile(small)
    assert file.metadata["tokenizer.ggml.tokens"] == ["a", "b", "c"]
    assert file.tensor("token_embd.weight").flatten().tolist() == list(range(64))


def test_a_file_cut_anywhere_is_refused(small: Path) -> None:
    whole = small.read_bytes()
    for length in range(1, len(whole), 7):
        small.write_bytes(whole[:length])
        with pytest.raises(WeightsCorrupt):
            GgufFile(small)


def test_a_forged_header_is_read_or_refused_but_never_crashes(small: Path) -> None:
    whole = small.read_bytes()
    chance = random.Random(7)
    refused = 0
    for _ in range(3_000):
        forged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            forged[chance.randrange(4, 256)] = chance.randrange(256)
        small.write_bytes(forged)
        try:
            file = GgufFile(small)
            for name in file.tensors:
                file.tensor(name)
        except WeightsCorrupt:
            refused += 1
    assert refused > 500


def test_something_else_is_no_gguf(tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(WeightsCorrupt, match="not a GGUF"):
        load_checkpoint(other)


def test_nothing_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        load_checkpoint(tmp_path / "absent.gguf")
    with pytest.raises(WeightsCorrupt):
        load_checkpoint(tmp_path)


def test_a_known_container_without_a_tokenizer_is_refused(small: Path) -> None:
    with pytest.raises(WeightsCorrupt):
        load_checkpoint(small)
