"""A decoder of the Llama, Mistral, Qwen2 or Qwen3 family, by configuration: the families differ in biases, norms of
queries and keys, and tied embeddings only.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend
from inference.model.layers import DecoderLayer, pack_fused, rms_norm
from inference.model.packing_check import check_packed
from inference.model.rope import rotations
from inference.model.source import EMBEDDING, WeightSource, check_tensors
from inference.quantization.base import LinearMethod, WeightFormat
from inference.quantization.int4 import Int4Method
from inference.quantization.int8 import Int8Method


class Decoder:
    """Tokens in, logits out; keys and values live in the attention backend.

    Raises what ``check_tensors`` raises."""

    def __init__(
        self, source: WeightSource, method: LinearMethod, *, max_positions: int, device: str
    ) -> None:
        config = source.config
        self.config = config
        check_tensors(source)
        self._embedding = source.tensor(EMBEDDING).to(device)
        self._layers = [
            DecoderLayer(index, source, config, method, device) for index in range(config.num_hidden_layers)
        ]
        self._norm = source.tensor("model.norm.weight").to(device)
        if isinstance(method, Int4Method):  # the output layer is worth its eight bits
            method = Int8Method(device)
        if config.tie_word_embeddings:
            self._head = method.pack(self._embedding, None)
        else:
            self._head = pack_fused(source, method, ["lm_head"])
        self._cos, self._sin = (part.to(device) for part in rotations(config, max_positions))

    def check(self, source: WeightSource, weight_format: WeightFormat, device: str) -> None:
        """Raises what ``check_packed`` raises."""
        index = len(self._layers) // 2
        prefix, layer = f"model.layers.{index}", self._layers[index]
        check_packed(source, f"{prefix}.self_attn.o_proj", weight_format, layer.output, device)
        check_packed(source, f"{prefix}.mlp.down_proj", weight_format, layer.down, device)

    def forward(
        self, token_ids: Tensor, positions: Tensor, rows: Tensor, attention: AttentionBackend
    ) -> Tensor:
        """Logits fp32 ``[len(rows), vocab]`` of the chosen rows.

        ``token_ids`` and ``positions`` are int64 ``[n]``, laid out as the step that ``attention`` was
        prepared for; ``rows`` indexes them.
        """
        x = F.embedding(token_ids, self._embedding)
        cos, sin = self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)
        for layer in self._layers:
            x = layer(x, cos, sin, attention)
        chosen = rms_norm(x[rows], self._norm, self.config.rms_norm_eps)
        return self._head(chosen).float()
