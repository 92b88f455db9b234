from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize as reference

from inference.loading.checkpoint import Checkpoint
from inference.loading.gguf import TENSOR_TYPES, GgufFile, dequantize

# Byte offsets of the fp16 scales in a block, which must be finite for a comparison to say something.
SCALES = {2: [0], 3: [0, 2], 6: [0], 7: [0, 2], 8: [0], 12: [0, 2], 13: [0, 2], 14: [208]}


@pytest.mark.parametrize("type_id", sorted(TENSOR_TYPES))
def test_every_type_gives_the_reference_readers_values_bit_for_bit(type_id: int) -> None:
    kind = TENSOR_TYPES[type_id]
    random = np.random.default_rng(type_id)
    if type_id in SCALES:
        blocks = random.integers(0, 256, (512, kind.layout.itemsize), dtype=np.uint8)
        for offset in SCALES[type_id]:
            scales = random.normal(size=512).astype(np.float16)
            blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(512, 2)
    else:
        values = random.normal(size=(512, 1)).astype(np.float32)
        if kind.name == "F16":
            values = values.astype(np.float16)
        blocks = values.view(np.uint8)[:, -kind.layout.itemsize :].copy()

    ours = dequantize(kind, blocks.view(kind.layout).reshape(-1))

    assert ours.shape == (512, kind.block_size)
    np.testing.assert_array_equal(ours, reference(blocks, GGMLQuantizationType(type_id)).reshape(ours.shape))


def test_tensors_of_a_real_file_equal_those_of_the_reference_reader(smollm2: Path) -> None:
    file = GgufFile(smollm2)
    for tensor in list(GGUFReader(smollm2).tensors)[:12]:
        expected = reference(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(file.tensor(tensor.name).numpy(), expected.reshape(tensor.shape[::-1]))


def test_rows_of_q_and_k_come_back_in_rotate_half_order(checkpoint: Checkpoint, smollm2: Path) -> None:
    file = GgufFile(smollm2)
    for ours, stored, heads in (("q_proj", "attn_q", 9), ("k_proj", "attn_k", 3)):
        weight = checkpoint.tensor(f"model.layers.3.self_attn.{ours}.weight")
        rows, columns = weight.shape
        interleaved = (
            weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
        )
        assert torch.equal(interleaved, file.tensor(f"blk.3.{stored}.weight"))
        assert not torch.equal(weight, interleaved)


def test_a_tied_checkpoint_has_no_output_matrix(checkpoint: Checkpoint) -> None:
    assert checkpoint.config.tie_word_embeddings
    assert "lm_head.weight" not in checkpoint.names()
    assert len(checkpoint.names()) == 2 + 9 * checkpoint.config.num_hidden_layers
