"""An encoder (BERT, arXiv:1810.04805) with mean pooling on the compiled kernels: sequences side by side, no padding.

What always holds: a vector depends on its own tokens alone, to the bit, whatever else is in the batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.errors import WeightsCorrupt
from inference.kernels import library
from inference.kernels.library import GROUP, InstructionSet, Team, address
from inference.loading.safetensors import SafetensorsFolder
from inference.quantization.panels import PanelFormat, PanelLinear, from_tensor

HEAD_STEP = 32
LINEARS = {
    "qkv": [f"attention.self.{name}" for name in ("query", "key", "value")],
    "output": ["attention.output.dense"],
    "up": ["intermediate.dense"],
    "down": ["output.dense"],
}


def unsupported(folder: Path) -> str | None:
    """Why the kernels cannot run the sentence-transformers model in ``folder``, or None when they can. Raises
    ``WeightsCorrupt``."""
    config, modules = _read(folder / "config.json"), _read(folder / "modules.json")
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"]):
        return f"it is made of {', '.join(kinds)}"
    pooling = _read(folder / modules[1]["path"] / "config.json")
    pools = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True]
    if pools != ["pooling_mode_mean_tokens"]:
        return f"it pools by {', '.join(pools)}"
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        return f"it is {config.get('model_type')} with {config.get('hidden_act')}"
    if config.get("position_embedding_type", "absolute") != "absolute":
        return "its positions are relative"
    hidden, ffn, heads = (
        int(config[name]) for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    if hidden % GROUP or ffn % GROUP or ffn < hidden or hidden % (heads * HEAD_STEP):
        return f"its sizes are {hidden} in {heads} heads and {ffn}"
    return None


class NativeEncoder:
    """Token ids to unit vectors. One call at a time.

    Raises ``KernelsUnavailable`` where there are no kernels, ``WeightsMissing`` and ``WeightsCorrupt``. The folder is one
    for which :func:`unsupported` has nothing to say."""

    def __init__(
        self,
        folder: Path,
        weight_format: PanelFormat,
        *,
        num_threads: int = 0,
        instructions: InstructionSet = "",
    ) -> None:
        self._team = Team(num_threads, instructions)
        config = _read(folder / "config.json")
        self._source, self._format = SafetensorsFolder(folder), weight_format
        self._kept: list[Tensor | PanelLinear] = []
        layers = [self._layer(f"encoder.layer.{index}") for index in range(config["num_hidden_layers"])]
        self._layers = (library.EncoderLayer * len(layers))(*layers)
        norm, shift = self._norm("embeddings.LayerNorm")
        self._model = library.Encoder(
            num_layers=len(layers),
            hidden=config["hidden_size"],
            ffn=config["intermediate_size"],
            heads=config["num_attention_heads"],
            head_dim=config["hidden_size"] // config["num_attention_heads"],
            eps=config["layer_norm_eps"],
            layers=self._layers,
            norm=norm,
            shift=shift,
        )
        self._words, positions, kinds = (
            self._source.tensor(f"embeddings.{name}_embeddings.weight")
            for name in ("word", "position", "token_type")
        )
        self._positions = positions + kinds[0]
        self.dimension = int(config["hidden_size"])
        self.max_tokens = int(_read(folder / "sentence_bert_config.json")["max_seq_length"])

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """fp32 ``[len(sequences), dimension]``. A sequence has 1 to ``max_tokens`` tokens."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        ids = torch.tensor([token for sequence in sequences for token in sequence])
        starts = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        places = torch.arange(len(ids)) - starts[:-1].repeat_interleave(lengths)
        x = self._words[ids] + self._positions[places]
        self._team.encode(self._model, x, starts.int())
        means = torch.stack([states.mean(0) for states in torch.split(x, lengths.tolist())])
        return torch.nn.functional.normalize(means)

    def _layer(self, prefix: str) -> library.EncoderLayer:
        linears = {
            part: self._pack([f"{prefix}.{name}" for name in names]) for part, names in LINEARS.items()
        }
        attention_norm, attention_shift = self._norm(f"{prefix}.attention.output.LayerNorm")
        output_norm, output_shift = self._norm(f"{prefix}.output.LayerNorm")
        return library.EncoderLayer(
            **linears,
            attention_norm=attention_norm,
            attention_shift=attention_shift,
            output_norm=output_norm,
            output_shift=output_shift,
        )

    def _pack(self, names: Sequence[str]) -> library.Linear:
        weight, bias = (
            torch.cat([self._source.tensor(f"{name}.{part}") for name in names])
            for part in ("weight", "bias")
        )
        rows, inputs = weight.shape
        packed = PanelLinear(from_tensor(weight), (rows, inputs), self._format, bias)
        self._kept.append(packed)
        return packed.struct

    def _norm(self, name: str) -> list[int]:
        tensors = [self._source.tensor(f"{name}.{part}").contiguous() for part in ("weight", "bias")]
        self._kept += tensors
        return [address(tensor) for tensor in tensors]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsCorrupt(f"{file.name} cannot be read: {error}.") from error
