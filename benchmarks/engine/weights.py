"""The same weights for every engine, made from one GGUF file of the catalogue.

- a folder of safetensors in bf16 for vLLM and transformers;
- a compressed-tensors folder for vLLM's W8A8: int8 weights with a scale per output channel, int8 activations with a
  dynamic scale per token, the output layer in bf16;
- the GGUF file itself, and one each in Q8_0, Q4_0 and BF16 for llama.cpp.

Format of compressed-tensors: https://github.com/vllm-project/compressed-tensors
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import save_file

from inference.config import ModelConfig
from inference.loading.checkpoint import Checkpoint, load_checkpoint

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
_W8A8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False
            },
            "input_activations": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True
            },
            "output_activations": None,
        }
    },
}  # fmt: skip


def settings(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """``config.json`` of a model."""
    return {
        "architectures": [ARCHITECTURES[config.architecture]],
        "model_type": config.architecture,
        "hidden_act": "silu",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": dtype,
        "eos_token_id": list(config.eos_token_ids),
    }


def dense_folder(source: Checkpoint, folder: Path) -> Path:
    """Safetensors in bf16."""
    tensors = {name: source.tensor(name).to(torch.bfloat16).contiguous() for name in source.names()}
    return _write(folder, tensors, settings(source.config, "bfloat16"))


def w8a8_folder(source: Checkpoint, folder: Path) -> Path:
    """int8 weights for vLLM."""
    tensors: dict[str, torch.Tensor] = {}
    for name in source.names():
        values = source.tensor(name)
        if name.endswith("_proj.weight"):
            scale = values.abs().amax(dim=1, keepdim=True) / 127
            tensors[name] = torch.round(values / scale).to(torch.int8)
            tensors[name + "_scale"] = scale.to(torch.bfloat16)
        else:
            tensors[name] = values.to(torch.bfloat16).contiguous()
    return _write(folder, tensors, settings(source.config, "bfloat16") | {"quantization_config": _W8A8})


def _write(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def gguf_file(path: Path, target: Path, form: str) -> Path:
    """The GGUF file with every matrix in ``form`` (``Q8_0``, ``Q4_0``, ``BF16``), metadata unchanged."""
    reader = gguf.GGUFReader(path)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(
                name, field.contents(), kind, field.types[1] if len(field.types) > 1 else None
            )
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kept = gguf.GGMLQuantizationType[form] if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


GGUF_FORMS = {"q8": "Q8_0", "q4": "Q4_0", "b16": "BF16"}


def prepare(path: Path, folder: Path) -> dict[str, Path]:
    """All forms of the weights at ``path``, made once in ``folder``: ``gguf, dense, w8a8`` and those of llama.cpp."""
    source = load_checkpoint(path)
    made = {"gguf": path, "dense": folder / "dense", "w8a8": folder / "w8a8"}
    folder.mkdir(parents=True, exist_ok=True)
    if not (made["dense"] / "config.json").exists():
        dense_folder(source, made["dense"])
    if not (made["w8a8"] / "config.json").exists():
        w8a8_folder(source, made["w8a8"])
    for name, form in GGUF_FORMS.items():
        made[name] = folder / f"{form.lower()}.gguf"
        if not made[name].exists():
            gguf_file(path, made[name].with_suffix(".part"), form).replace(made[name])
    return made
