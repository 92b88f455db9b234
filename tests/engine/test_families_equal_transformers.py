"""Every family that the engine runs says what transformers says, from files as transformers writes them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.attention.base import Segment
from inference.engine.engine import Engine
from inference.errors import PromptTooLong, UnsupportedCheckpoint, WeightsCorrupt
from inference.loading.checkpoint import load_checkpoint
from inference.model.native import NativeDecoder
from inference.request import PromptTokens
from tests.engine.checkpoints import FAMILIES, WIDE, make_model, save_folder, save_gguf
from tests.engine.tiny import assert_greedy_choices, greedy, make_config, make_prompts, run, submit

YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 6}),
    ("qwen3", {"tie_word_embeddings": False, "num_key_value_heads": 1, "attention_bias": True}),
    ("llama", {"rope_parameters": LLAMA3}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}}),
    ("qwen2", {"rope_parameters": YARN}),
    ("qwen3", {"rope_parameters": YARN | {"attention_factor": 1.3, "beta_fast": 8.0, "truncate": False}}),
    ("qwen3", {"rope_parameters": YARN | {"mscale": 2.0, "mscale_all_dim": 0.5}}),
]


def assert_same(path: Path, model: Any) -> None:
    engine = Engine(make_config(), load_checkpoint(path))
    prompts = make_prompts(5, longest=180)
    for prompt, output in zip(prompts, run(engine, prompts), strict=True):
        assert_greedy_choices(model, prompt, output)
        assert len(set(output)) > 4, "the random model repeats itself: the test would prove little"


@pytest.mark.parametrize(("family", "changes"), VARIANTS)
def test_greedy_tokens_equal_those_of_transformers(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    model = make_model(family, **changes)
    assert_same(save_folder(model, tmp_path), model)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_gguf_file_says_the_same(family: str, tmp_path: Path) -> None:
    model = make_model(family)
    assert_same(save_gguf(model, tmp_path / "tiny.gguf"), model)


def test_a_gguf_file_may_stretch_its_positions(tmp_path: Path) -> None:
    model = make_model("llama", rope_parameters={"rope_type": "linear", "rope_theta": 5e2, "factor": 3.0})
    scaling = {"rope__scaling__type": "linear", "rope__scaling__factor": 3.0}
    assert_same(save_gguf(model, tmp_path / "tiny.gguf", **scaling), model)
    with pytest.raises(UnsupportedCheckpoint, match="'yarn'"):
        load_checkpoint(save_gguf(model, tmp_path / "yarn.gguf", rope__scaling__type="yarn"))


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize(("weight_format", "tolerance"), [("bf16", 0.02), ("int8", 0.08)])
def test_the_compiled_kernels_agree_within_the_format(
    family: str, weight_format: str, tolerance: float, tmp_path: Path
) -> None:
    model = make_model(family, **WIDE)
    source = load_checkpoint(save_folder(model, tmp_path))
    ids = list(make_prompts(1, shortest=180, longest=200)[0].token_ids)
    decoder = NativeDecoder(source, weight_format, num_blocks=20, max_positions=200, num_threads=1)  # type: ignore[arg-type]
    with torch.inference_mode():
        got = decoder.forward(ids, range(len(ids)), [Segment(0, len(ids), range(20))])
        wanted = model(torch.tensor([ids])).logits[0]
    assert float((got - wanted).norm() / wanted.norm()) < tolerance


def test_a_context_beyond_the_sliding_window_is_refused(tmp_path: Path) -> None:
    model = make_model("mistral", sliding_window=48)
    path = save_folder(model, tmp_path)
    engine = Engine(make_config(), load_checkpoint(path))
    prompt = PromptTokens(tuple(range(30)))
    assert_greedy_choices(model, prompt, run(engine, [prompt], greedy(18))[0])
    with pytest.raises(PromptTooLong):
        submit(engine, prompt, greedy(19))


def test_a_window_that_is_switched_off_does_not_limit(tmp_path: Path) -> None:
    path = save_folder(make_model("qwen2"), tmp_path, sliding_window=48, use_sliding_window=False)
    assert load_checkpoint(path).config.max_position_embeddings == 512


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gemma3"}, "family gemma3"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "layer"),
    ],
)
def test_what_the_engine_does_not_run_is_told(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = save_folder(make_model("llama"), tmp_path, **changes)
    with pytest.raises(UnsupportedCheckpoint, match=said):
        load_checkpoint(path)


def spoil(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(path / "model.safetensors")
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, path / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("model.layers.1.mlp.up_proj.weight", None, "lacks the tensor model.layers.1.mlp.up_proj.weight"),
        ("model.layers.2.self_attn.k_proj.weight", torch.zeros(72, 72), r"shape \(72, 72\), not \(64, 72\)"),
        ("model.layers.0.self_attn.q_norm.weight", torch.zeros(12), r"shape \(12,\), not \(32,\)"),
        ("model.layers.0.mlp.up_proj.bias", torch.zeros(7), r"shape \(7,\), not \(100,\)"),
        ("model.embed_tokens.weight", torch.zeros(300, 72), r"shape \(300, 72\), not \(301, 72\)"),
        ("model.layers.0.post_feedforward_layernorm.weight", torch.zeros(72), "does not know"),
    ],
)
def test_a_tensor_that_does_not_fit_is_told(
    name: str, tensor: torch.Tensor | None, said: str, tmp_path: Path
) -> None:
    path = save_folder(make_model("qwen3"), tmp_path)
    spoil(path, name, tensor)
    with pytest.raises((WeightsCorrupt, UnsupportedCheckpoint), match=said):
        Engine(make_config(), load_checkpoint(path))


def test_a_gguf_tensor_that_does_not_fit_is_told(tmp_path: Path) -> None:
    model = make_model("llama")
    model.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(96, 72))
    source = load_checkpoint(save_gguf(model, tmp_path / "tiny.gguf"))
    with pytest.raises(WeightsCorrupt, match=r"layers\.1\.mlp\.up_proj\.weight has the shape \(96, 72\)"):
        Engine(make_config(), source)


def test_scalings_are_read_from_either_name(tmp_path: Path) -> None:
    path = save_folder(make_model("llama", rope_parameters=LLAMA3), tmp_path)
    new = load_checkpoint(path).config
    settings = json.loads((path / "config.json").read_text("utf-8"))
    old = dict(settings.pop("rope_parameters"))
    settings["rope_theta"] = old.pop("rope_theta")
    settings["rope_scaling"] = old
    (path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert dataclasses.asdict(load_checkpoint(path).config) == dataclasses.asdict(new)
    assert new.rope_scaling is not None
