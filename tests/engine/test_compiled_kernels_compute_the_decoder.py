"""The compiled kernels compute the same decoder as torch: each instruction set, both formats, however a step is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from inference.attention.base import Segment
from inference.attention.torch_cpu import TorchPagedAttention
from inference.errors import WeightsCorrupt
from inference.kernels.build import KernelsUnavailable
from inference.kernels.library import Team
from inference.model.decoder import Decoder
from inference.model.native import NativeDecoder, unsupported
from inference.quantization.base import linear_method
from tests.engine.tiny import TinyCheckpoint, make_checkpoint

WIDE = {
    "hidden_size": 384,
    "intermediate_size": 320,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "initializer_range": 0.06,
}
NUM_BLOCKS, POSITIONS = 64, 400
FORMATS = ("bf16", "int8", "int4", "int8+kv8")


def instruction_sets() -> list[str]:
    found = []
    for name in ("avx2", "avx512"):
        try:
            Team(1, name)
            found.append(name)
        except KernelsUnavailable:
            continue
    return found


SETS = instruction_sets()


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def wide(request: pytest.FixtureRequest) -> TinyCheckpoint:
    return make_checkpoint(request.param, **WIDE)


def native(checkpoint: TinyCheckpoint, weight_format: str, **changes: Any) -> NativeDecoder:
    weight_format, _, kv = weight_format.partition("+")
    return NativeDecoder(
        checkpoint,
        weight_format,  # type: ignore[arg-type]
        kv_cache_format="int8" if kv else "auto",
        **({"num_blocks": NUM_BLOCKS, "max_positions": POSITIONS, "num_threads": 2} | changes),
    )


def tokens(count: int, seed: int = 3) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [int(value) for value in torch.randint(0, 190, (count,), generator=generator)]


def run(model: Any, ids: Sequence[int], blocks: Sequence[int], cuts: Sequence[int]) -> torch.Tensor:
    """Feeds ``ids`` in chunks that end at ``cuts``; the logits of every position."""
    parts, start = [], 0
    with torch.inference_mode():
        for end in cuts:
            segment = Segment(start, end - start, blocks)
            parts.append(model.forward(ids[start:end], range(end - start), [segment]).clone())
            start = end
    return torch.cat(parts)


def reference(checkpoint: TinyCheckpoint, ids: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = checkpoint.reference(torch.tensor([list(ids)])).logits[0]
    return logits


def test_this_machine_has_kernels() -> None:
    assert SETS, "the tests below need a processor with AVX2 and a compiler"


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(("weight_format", "tolerance"), [("bf16", 0.02), ("int8", 0.08)])
def test_logits_agree_with_transformers_within_the_format(
    wide: TinyCheckpoint, weight_format: str, tolerance: float, instructions: str
) -> None:
    ids = tokens(301)
    wanted = reference(wide, ids)
    got = run(native(wide, weight_format, instructions=instructions), ids, range(5, 40), [301])
    error = (got - wanted).pow(2).mean().sqrt() / wanted.pow(2).mean().sqrt()
    assert float(error) < tolerance
    assert got.shape == wanted.shape


def test_the_tolerance_would_notice_a_wrong_position(wide: TinyCheckpoint) -> None:
    """The control of the test above: shifted by one token, everything else the same."""
    ids = tokens(301)
    got = run(native(wide, "int8"), [0, *ids[:-1]], range(5, 40), [301])
    wanted = reference(wide, ids)
    assert float((got - wanted).pow(2).mean().sqrt() / wanted.pow(2).mean().sqrt()) > 0.5


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("weight_format", FORMATS)
def test_cuts_blocks_threads_and_neighbours_change_no_bit(
    wide: TinyCheckpoint, weight_format: str, instructions: str
) -> None:
    ids, others = tokens(301), tokens(60, seed=4)
    alone = run(native(wide, weight_format, instructions=instructions), ids, range(20), [301])
    single = native(wide, weight_format, instructions=instructions, num_threads=1)
    assert torch.equal(run(single, ids, range(30, 60), [1, 2, 50, 179, 300, 301]), alone)
    with torch.inference_mode():
        table, far = list(range(40, 60)), list(range(0, 10))
        single.forward(others[:9] + ids[:133], [0], [Segment(0, 9, far), Segment(0, 133, table)])
        mixed = single.forward(
            others[9:10] + ids[133:] + others[:37],
            range(1, 169),
            [Segment(9, 1, far), Segment(133, 168, table), Segment(0, 37, list(range(20, 24)))],
        )
    assert torch.equal(mixed, alone[133:])


@pytest.mark.parametrize("weight_format", ["int8", "int8+kv8"])
def test_decoding_rows_of_many_sequences_are_those_of_each_alone(
    wide: TinyCheckpoint, weight_format: str
) -> None:
    model = native(wide, weight_format)
    prompts = [tokens(length, seed=length) for length in (1, 15, 16, 17, 127, 128, 129, 200)]
    tables, taken = [], 0
    for prompt in prompts:
        blocks = len(prompt) // 16 + 1
        tables.append(list(range(taken, taken + blocks)))
        taken += blocks
    wanted = [
        run(native(wide, weight_format), [*prompt, 7], table, [len(prompt) + 1])[-1]
        for prompt, table in zip(prompts, tables, strict=True)
    ]
    for prompt, table in zip(prompts, tables, strict=True):
        run(model, prompt, table, [len(prompt)])
    with torch.inference_mode():
        rows = model.forward(
            [7] * len(prompts),
            range(len(prompts)),
            [Segment(len(prompt), 1, table) for prompt, table in zip(prompts, tables, strict=True)],
        )
    for row, alone in zip(rows, wanted, strict=True):
        assert torch.equal(row, alone)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("weight_format", ["int8", "int8+kv8"])
def test_sequences_that_read_shared_blocks_together_compute_what_each_does_alone(
    wide: TinyCheckpoint, weight_format: str, instructions: str
) -> None:
    """Prefixes that end within and at the borders of a span, sequences of several lengths, with and without drafts."""
    prompt, tails = tokens(320), [tokens(count, seed=count) for count in (1, 3, 40, 1, 9, 70)]
    for shared in (1, 8, 9, 20):
        start, together = shared * 16, native(wide, weight_format, instructions=instructions)
        run(together, prompt[:start], range(shared), [start])
        segments = [
            Segment(start, len(tail), [*range(shared), *range(20 + index * 5, 25 + index * 5)])
            for index, tail in enumerate(tails)
        ]
        alone = []
        for segment, tail in zip(segments, tails, strict=True):
            model = native(wide, weight_format, instructions=instructions)
            run(model, prompt[:start], segment.block_table, [start])
            alone.append(forward(model, tail, [segment]))
        assert torch.equal(
            forward(together, [token for tail in tails for token in tail], segments), torch.cat(alone)
        ), shared


def forward(model: NativeDecoder, ids: Sequence[int], segments: Sequence[Segment]) -> torch.Tensor:
    """One step; the logits of every position."""
    with torch.inference_mode():
        return model.forward(ids, range(len(ids)), segments).clone()


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(
    ("weight_format", "byte"), [("int8", 0x7E), ("int8+kv8", 0x7F), ("int8+kv8", -1)], ids=str
)
def test_what_lies_in_the_cache_beyond_a_sequence_is_never_seen(
    wide: TinyCheckpoint, weight_format: str, byte: int, instructions: str
) -> None:
    """The bytes are 8.4e37 in bf16, 127 times 3.4e38 in int8, and -1 times not-a-number."""
    ids = tokens(90)
    clean = run(native(wide, weight_format, instructions=instructions), ids, range(6), [90])
    dirty = native(wide, weight_format, instructions=instructions)
    dirty._keys.fill_(byte)
    dirty._values.fill_(byte)
    assert torch.equal(run(dirty, ids, range(6), [37, 90]), clean)


def test_int8_is_close_to_torchs_int8(wide: TinyCheckpoint) -> None:
    """Two implementations of the format; ours has finer activation scales, so it must be nearer to fp32."""
    ids = tokens(200)
    config = wide.config
    attention = TorchPagedAttention(config, num_blocks=NUM_BLOCKS, block_size=16, device="cpu")
    decoder = Decoder(wide, linear_method("int8", "cpu"), attention, max_positions=POSITIONS)
    theirs = run(decoder, ids, range(20), [200])
    ours = run(native(wide, "int8"), ids, range(20), [200])
    wanted = reference(wide, ids)
    assert float((ours - wanted).norm()) < float((theirs - wanted).norm())


def test_an_embedding_tied_to_the_output_layer_is_read_back_from_it() -> None:
    checkpoint = make_checkpoint("qwen2", **WIDE)
    table = checkpoint.tensor("model.embed_tokens.weight")
    ids = torch.tensor([0, 31, 32, 197, 198])
    for weight_format, tolerance in (("bf16", 2**-8), ("int8", 0.5 / 127)):
        model = native(checkpoint, weight_format)
        largest = table[ids].abs().amax(dim=1, keepdim=True)
        assert bool(((model._embedding.gather(ids) - table[ids]).abs() <= largest * tolerance * 1.01).all())


def test_shapes_that_the_kernels_do_not_know_are_told() -> None:
    assert unsupported(make_checkpoint("llama").config, 16) is not None
    wide = make_checkpoint("llama", **WIDE).config
    assert unsupported(wide, 16) is None
    assert unsupported(wide, 32) is not None


def test_a_missing_tensor_is_told() -> None:
    checkpoint = make_checkpoint("llama", **WIDE)
    del checkpoint._tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(WeightsCorrupt, match="up_proj"):
        native(checkpoint, "int8")
