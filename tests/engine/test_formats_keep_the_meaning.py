"""What a number format costs on real weights, by perplexity on a text of the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference import catalog
from inference.attention.base import Segment
from inference.attention.torch_cpu import TorchPagedAttention
from inference.loading.checkpoint import load_checkpoint
from inference.model.decoder import Decoder
from inference.model.native import NativeDecoder
from inference.model.runner import StepModel
from inference.quantization.base import linear_method

TEXT = Path(__file__).parents[2] / "README.md"
LENGTH = 600
BLOCKS = 64


def logits_of(model: StepModel, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model.forward(ids, range(len(ids)), [Segment(0, len(ids), range(BLOCKS))])


def perplexity(logits: Tensor, ids: list[int]) -> float:
    return float(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).exp())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("smollm2-135m-instruct", marks=pytest.mark.slow),
        pytest.param("qwen2.5-coder-0.5b-instruct", marks=pytest.mark.qwen),
    ],
)
def test_int8_and_bf16_stay_close_to_fp32(name: str) -> None:
    source = load_checkpoint(catalog.fetch(name))
    ids = source.tokenizer.encode(TEXT.read_text(encoding="utf-8"))[:LENGTH]
    attention = TorchPagedAttention(source.config, num_blocks=BLOCKS, block_size=16, device="cpu")
    decoder = Decoder(source, linear_method("fp32", "cpu"), attention, max_positions=LENGTH)
    wanted = logits_of(decoder, ids)
    reference = perplexity(wanted, ids)
    for weight_format, most, agreement in (("bf16", 1.004, 0.97), ("int8", 1.02, 0.88)):
        model = NativeDecoder(source, weight_format, num_blocks=BLOCKS, max_positions=LENGTH)  # type: ignore[arg-type]
        got = logits_of(model, ids)
        same = float((got.argmax(-1) == wanted.argmax(-1)).float().mean())
        cost = perplexity(got, ids) / reference
        print(f"{name} {weight_format}: perplexity x {cost:.4f}, top-1 {same:.3f}")
        assert cost < most
        assert same > agreement
