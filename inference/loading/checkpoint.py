"""A checkpoint on disk, whatever its format, as one thing: shape, tokenizer, and fp32 tensors under
Hugging Face's names.

A GGUF file stores the tensors of the Llama family with the rows of ``q`` and ``k`` interleaved for its
own rotary layout; they are put back into the rotate-half order here, so that a model needs only one way
to rotate."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from inference.config import Architecture, ModelConfig, RopeScaling
from inference.errors import UnsupportedCheckpoint, WeightsCorrupt, WeightsMissing
from inference.loading.gguf import GgufFile
from inference.loading.grouped import GroupedFolder, read_scheme
from inference.loading.safetensors import SafetensorsFolder
from inference.loading.tokenizer import tokenizer_from_folder, tokenizer_from_gguf
from inference.quantization.int4 import GroupedWeight

ROPE_FACTORS = "rope_freqs.weight"
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_SHAPE = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "max_position_embeddings": "context_length",
    "sliding_window": "attention.sliding_window",
}
"""Names of ``config.json``, and of a GGUF file's metadata after the family."""


def _config(settings: Mapping[str, Any], **others: Any) -> ModelConfig:
    """The shape of a decoder under the names of ``config.json``. Raises ``KeyError``."""
    heads, hidden = int(settings["num_attention_heads"]), int(settings["hidden_size"])
    # Attention within the window is plain attention, so a context that ends there needs no other kind.
    context = min(settings["max_position_embeddings"], settings.get("sliding_window") or math.inf)
    return ModelConfig(
        hidden_size=hidden,
        intermediate_size=int(settings["intermediate_size"]),
        num_hidden_layers=int(settings["num_hidden_layers"]),
        num_attention_heads=heads,
        num_key_value_heads=int(settings.get("num_key_value_heads") or heads),
        head_dim=int(settings.get("head_dim") or hidden // heads),
        rms_norm_eps=float(settings["rms_norm_eps"]),
        max_position_embeddings=int(context),
        **others,
    )


def _hugging_face_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[1].isdigit() and parts[2] in _LAYER:
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{parts[3]}"
    raise UnsupportedCheckpoint(f"The GGUF file has a tensor {name} that the engine does not know.")


def _rotate_half_order(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from ``(pair, which half)`` back to ``(which half, pair)``."""
    shape = tensor.shape
    paired = tensor.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
    return paired.transpose(1, 2).reshape(shape).contiguous()


class GgufCheckpoint:
    """A ``WeightSource`` in one ``.gguf`` file; ``config.eos_token_ids`` equals ``tokenizer.eos_token_ids``."""

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        self._stored = {_hugging_face_name(name): name for name in self._file.tensors if name != ROPE_FACTORS}
        try:
            self.tokenizer = tokenizer_from_gguf(self._file.metadata)
            self.config = self._read_config()
        except KeyError as error:
            raise WeightsCorrupt(f"{path.name} lacks {error} in its metadata.") from error

    def _read_config(self) -> ModelConfig:
        metadata = self._file.metadata
        family = metadata["general.architecture"]
        if family not in ("llama", "qwen2", "qwen3"):
            raise UnsupportedCheckpoint(f"The GGUF file holds a model of the family {family}.")
        settings = {
            name: metadata[f"{family}.{key}"] for name, key in _SHAPE.items() if f"{family}.{key}" in metadata
        }
        config = _config(
            settings,
            architecture=family,
            vocab_size=self._file.tensors["token_embd.weight"].shape[0],
            rope_theta=float(metadata.get(f"{family}.rope.freq_base", 10_000.0)),
            tie_word_embeddings="output.weight" not in self._file.tensors,
            rope_scaling=self._read_scaling(family),
            eos_token_ids=self.tokenizer.eos_token_ids,
        )
        if metadata.get(f"{family}.rope.dimension_count", config.head_dim) != config.head_dim:
            raise UnsupportedCheckpoint("The GGUF file rotates a part of each head only.")
        return config

    def _read_scaling(self, family: str) -> RopeScaling | None:
        kind = self._file.metadata.get(f"{family}.rope.scaling.type", "none")
        factors = ROPE_FACTORS in self._file.tensors
        if kind == "none":
            found = tuple(self._file.tensor(ROPE_FACTORS).tolist()) if factors else ()
            return RopeScaling(kind="factors", factors=found) if found else None
        if kind != "linear" or factors:
            raise UnsupportedCheckpoint(f"The GGUF file scales its rotary frequencies by {kind!r}.")
        return RopeScaling(kind="linear", factor=float(self._file.metadata[f"{family}.rope.scaling.factor"]))

    def names(self) -> list[str]:
        return list(self._stored)

    def tensor(self, name: str) -> torch.Tensor:
        return self._ordered(name, self._file.tensor(self._stored[name]))

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored, where it is stored in 4 bits; scales and minima of Q4_K are rounded to fp16."""
        codes = self._file.codes(self._stored[name])
        if codes is None:
            return None
        parts = [self._ordered(name, part) for part in codes]
        return GroupedWeight(parts[0], parts[1].half(), parts[2].half(), 32, "minima")

    def _ordered(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if self.config.architecture == "llama" and ".q_proj." in name:
            return _rotate_half_order(values, self.config.num_attention_heads)
        if self.config.architecture == "llama" and ".k_proj." in name:
            return _rotate_half_order(values, self.config.num_key_value_heads)
        return values

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file.tensors[self._stored[name]].shape

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        return self._file.rows(self._stored[name], first, last)


def _rope(settings: dict[str, Any]) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from ``rope_theta`` and ``rope_scaling`` or from the newer ``rope_parameters``."""
    parameters: dict[str, Any] = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    theta = float(parameters.get("rope_theta", settings.get("rope_theta", 10_000.0)))
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if any(isinstance(value, dict) for value in parameters.values()):
        kind = "layer"
    if float(parameters.get("partial_rotary_factor", settings.get("partial_rotary_factor")) or 1.0) != 1.0:
        kind = "partial_rotary_factor"
    if kind == "default":
        return theta, None
    if kind not in ("llama3", "linear", "yarn"):
        raise UnsupportedCheckpoint(f"The checkpoint scales its rotary frequencies by {kind!r}.")
    names = {field.name for field in dataclasses.fields(RopeScaling)} - {"kind", "factors"}
    given: dict[str, Any] = {"original_max_position_embeddings": settings["max_position_embeddings"]}
    given |= {name: value for name, value in parameters.items() if name in names and value is not None}
    for name in ("factor", "low_freq_factor", "high_freq_factor")[: 3 if kind == "llama3" else 1]:
        given[name] = float(parameters[name])
    if kind == "yarn":
        given.setdefault("attention_factor", _yarn_attention(parameters))
    return theta, RopeScaling(**given, kind=kind)


def _yarn_attention(parameters: dict[str, Any]) -> float:
    """YaRN's factor of cosines and sines: ``0.1 m ln(factor) + 1``, or the quotient of two of them."""
    growth = 0.1 * math.log(max(float(parameters["factor"]), 1.0))
    over, under = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return (growth * over + 1) / (growth * under + 1) if over and under else growth + 1


def _as_ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)


class SafetensorsCheckpoint:
    """A ``WeightSource`` in a folder with ``config.json``, ``*.safetensors`` and ``tokenizer.json``; matrices may
    be in 4 bits as GPTQ and AWQ write them."""

    def __init__(self, folder: Path) -> None:
        try:
            settings = json.loads((folder / "config.json").read_text("utf-8"))
            generation_file = folder / "generation_config.json"
            generation = json.loads(generation_file.read_text("utf-8")) if generation_file.exists() else {}
        except (OSError, ValueError) as error:
            raise WeightsCorrupt(f"config.json of {folder.name} cannot be read: {error}.") from error
        try:
            scheme = settings.get("quantization_config")
            self._folder = GroupedFolder(folder, read_scheme(scheme)) if scheme else SafetensorsFolder(folder)
            ends = _as_ids(settings.get("eos_token_id")) + _as_ids(generation.get("eos_token_id"))
            self.tokenizer = tokenizer_from_folder(folder, ends)
            self.config = self._read_config(settings)
        except KeyError as error:
            raise WeightsCorrupt(f"config.json of {folder.name} lacks {error}.") from error

    def _read_config(self, settings: dict[str, Any]) -> ModelConfig:
        family, act = settings["model_type"], settings.get("hidden_act", "silu")
        if family not in get_args(Architecture) or act != "silu":
            raise UnsupportedCheckpoint(f"config.json describes a model of the family {family} with {act}.")
        theta, scaling = _rope(settings)
        slides = settings.get("use_sliding_window", family == "mistral")
        return _config(
            settings | {"sliding_window": settings.get("sliding_window", 4096) if slides else None},
            architecture=family,
            vocab_size=int(settings["vocab_size"]),
            rope_theta=theta,
            tie_word_embeddings=bool(settings.get("tie_word_embeddings", False))
            or "lm_head.weight" not in self._folder.names(),
            rope_scaling=scaling,
            eos_token_ids=self.tokenizer.eos_token_ids,
        )

    def names(self) -> list[str]:
        tied = self.config.tie_word_embeddings
        return [name for name in self._folder.names() if not (tied and name == "lm_head.weight")]

    def tensor(self, name: str) -> torch.Tensor:
        return self._folder.tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._folder.shape(name)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        return self._folder.rows(name, first, last)

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored in 4 bits, where it is and can be kept."""
        return self._folder.grouped(name)


Checkpoint = GgufCheckpoint | SafetensorsCheckpoint


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens a ``.gguf`` file or a folder of safetensors; tensors are read when they are asked for.

    Raises ``WeightsMissing``, ``WeightsCorrupt``, ``UnsupportedCheckpoint``.
    """
    if path.is_dir():
        return SafetensorsCheckpoint(path)
    if not path.is_file():
        raise WeightsMissing(f"There are no weights at {path}.")
    return GgufCheckpoint(path)
