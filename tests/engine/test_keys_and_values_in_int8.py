"""Keys and values in int8: what is kept is what the format says, and nothing else changes, with the kernels and without."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface

from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.environment import config_from_environment
from inference.errors import InvalidRequest
from inference.model.build import build_model
from inference.model.native import NativeDecoder
from inference.model.runner import StepModel
from tests.engine.test_compiled_kernels_compute_the_decoder import SETS, WIDE, run, tokens
from tests.engine.tiny import TinyCheckpoint, logits_of, make_checkpoint, make_config, make_prompts

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "heads of 128": {"head_dim": 128, "num_key_value_heads": 3},
}
PROMPTS = make_prompts(10, seed=3, longest=150)


def hadamard(size: int) -> Tensor:
    """The matrix itself, block by block of 64, from its definition: signs by the parity of common bits."""
    rows = [[(-1.0) ** (i & j).bit_count() / 8 for j in range(64)] for i in range(64)]
    return torch.kron(torch.eye(size // 64, dtype=torch.float64), torch.tensor(rows, dtype=torch.float64))


def rounded(x: Tensor) -> Tensor:
    step = x.abs().amax(-1, keepdim=True) / 127
    return (x / step).round() * step


def attention(keep_key: Callable[[Tensor], Tensor], keep_value: Callable[[Tensor], Tensor]) -> Any:
    """Causal attention in float64 over what a cache makes of keys and values."""

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any
    ) -> tuple[Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = (
            keep(part).repeat_interleave(groups, 1) for keep, part in ((keep_key, key), (keep_value, value))
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return (scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value).transpose(1, 2), None

    return attend


def mean_bias(shape: str) -> Tensor:
    """What the bias of the keys is on the average of 1,024 positions ``[kv_heads, 1, head_dim]``: a pair of dimensions is
    a complex number that turns."""
    config, name = checkpoint(shape).config, "model.layers.0.self_attn.k_proj.bias"
    if name not in checkpoint(shape).names():
        return torch.zeros(())
    first, second = checkpoint(shape).tensor(name).double().view(-1, 1, config.head_dim).chunk(2, dim=-1)
    frequencies = config.rope_theta ** (-torch.arange(config.head_dim // 2) / (config.head_dim // 2))
    angles = torch.outer(torch.arange(1024).double(), frequencies.double())
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles).mean(0)
    return torch.cat((turned.real, turned.imag), dim=-1)


def in_int8(key: Tensor) -> Tensor:
    turn = hadamard(key.shape[-1])
    return rounded(key @ turn) @ turn


AttentionInterface.register("exact", attention(lambda x: x, lambda x: x))
AttentionInterface.register("int8", attention(in_int8, rounded))


@cache
def checkpoint(shape: str) -> TinyCheckpoint:
    """Weights that bf16 holds exactly, so that a result is off by its activations and its cache alone."""
    made = make_checkpoint(
        "qwen2" if shape == "qwen2" else "llama", num_hidden_layers=1, **(WIDE | SHAPES[shape])
    )
    made._tensors = {name: tensor.bfloat16().float() for name, tensor in made._tensors.items()}
    made.reference.load_state_dict(made._tensors, strict=False)
    return made


def reference(shape: str, kept: str, ids: list[int]) -> Tensor:
    """transformers in float64 over a cache that keeps what ``kept`` says."""
    model = copy.deepcopy(checkpoint(shape).reference).double()
    model.set_attn_implementation(kept)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]  # type: ignore[no-any-return]


def config(weight_format: str, kernels: str, **changes: Any) -> EngineConfig:
    return make_config(
        weight_format=weight_format, kernels=kernels, **({"kv_cache_format": "int8"} | changes)
    )


def difference(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def computed(
    shape: str, weight_format: str, kernels: str, kept: str, ids: list[int]
) -> tuple[StepModel, Tensor]:
    """The model, with the prompt in its cache from block 3 on, and the logits."""
    settings = config(weight_format, kernels, kv_cache_format=kept)
    model = build_model(checkpoint(shape), settings, max_positions=400)
    return model, run(model, ids, range(3, 30), [200, 300, 301])


@pytest.mark.parametrize("shape", SHAPES)
def test_torch_attends_to_rounded_keys_and_values(shape: str) -> None:
    """Of two references the one that rounds is the nearer by far; of a cache in fp32 the other one is."""
    ids = tokens(301)
    exact, int8 = reference(shape, "exact", ids), reference(shape, "int8", ids)
    _, got = computed(shape, "fp32", "off", "int8", ids)
    assert difference(got, int8) < difference(got, exact) / 10
    _, got = computed(shape, "fp32", "off", "auto", ids)
    assert difference(got, exact) < difference(got, int8) / 10


def unpacked(model: NativeDecoder, shape: str, count: int) -> tuple[Tensor, Tensor]:
    """Keys and values of the first layer that lie in the cache from block 3 on, ``[kv_heads, count, head_dim]``."""
    heads, size = checkpoint(shape).config.num_key_value_heads, checkpoint(shape).config.head_dim

    def parts(cache: Tensor) -> tuple[Tensor, Tensor]:
        tiles = cache[0].view(-1, heads, size * 16 + 64)[3 : 3 + -(-count // 16)].transpose(0, 1)
        scales = tiles[..., size * 16 :].contiguous().view(torch.float32)
        return tiles[..., : size * 16].double(), scales.double().reshape(heads, -1, 1)

    keys, scales = parts(model._keys)
    keys = keys.view(heads, -1, size // 2, 16, 2).transpose(2, 3).reshape(heads, -1, size) * scales
    values, scales = parts(model._values)
    values = values.view(heads, -1, 8, size, 2).transpose(3, 4).reshape(heads, -1, size) * scales
    return (keys @ hadamard(size) / 8)[:, :count], values[:, :count]


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernels_keep_rounded_keys_and_values_and_attend_to_them(shape: str, instructions: str) -> None:
    """Attention is held against float64 over what the kernels kept, since activations in bf16 push some of it over the
    middle between two steps; what they kept is held against what float64 would keep."""
    ids = tokens(301)
    wanted: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        wanted.append(x)
        return x

    AttentionInterface.register("noting", attention(note, note))
    exact = reference(shape, "noting", ids)
    model, got = computed(shape, "bf16", instructions, "int8", ids)
    assert isinstance(model, NativeDecoder)
    kept = unpacked(model, shape, len(ids))
    wanted[0] = wanted[0] - mean_bias(shape)
    for mine, theirs in zip(kept, wanted, strict=True):
        assert difference(mine, theirs[0]) < 0.012
    AttentionInterface.register("kept", attention(lambda _: kept[0][None], lambda _: kept[1][None]))
    near = difference(got, reference(shape, "kept", ids))
    assert near < difference(got, exact) / 1.7
    assert near < 0.01


def engine(kernels: str, **changes: Any) -> Engine:
    return Engine(config("int8", kernels, speculation=0, **changes), checkpoint("qwen2"))


@pytest.mark.parametrize("kernels", [*SETS, "off"])
def test_no_bit_depends_on_company_cuts_hits_or_preemption(kernels: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "batched": {},
        "chunked": {"max_batched_tokens": 90},
        "warm": {},
        "preempted": {"kv_cache_tokens": 256, "prefix_caching": False},
    }
    alone = [logits_of(engine(kernels, prefix_caching=False), [prompt], 24)[0] for prompt in PROMPTS]
    for way, changes in ways.items():
        running = engine(kernels, **changes)
        if way == "preempted" and kernels == "off":
            continue  # decision 0010: torch feels where the chunks of a prompt end
        if way == "warm":
            logits_of(running, PROMPTS, 24)
        got, metrics = logits_of(running, PROMPTS, 24), running.metrics()
        assert got == alone, way
        assert bool(metrics["num_preemptions_total"]) == (way == "preempted")
        assert bool(metrics["prefix_cache_hits"]) == (way == "warm")


def test_the_service_reads_the_format_or_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_KV_CACHE_FORMAT", "int8")
    assert config_from_environment().kv_cache_format == "int8"
    monkeypatch.setenv("TESSERA_KV_CACHE_FORMAT", "fp8")
    with pytest.raises(InvalidRequest, match="TESSERA_KV_CACHE_FORMAT"):
        config_from_environment()
