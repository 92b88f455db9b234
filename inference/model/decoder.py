"""A decoder of the Llama, Mistral, Qwen2 or Qwen3 family, by configuration: the families differ in biases, norms of
queries and keys, and tied embeddings only."""

from __future__ import annotations

from collections.abc import Sequence as Row

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend, Segment
from inference.model.layers import DecoderLayer, pack_fused, rms_norm
from inference.model.packing_check import check_layer
from inference.model.rope import rotations
from inference.model.source import EMBEDDING, WeightSource, check_tensors
from inference.quantization.base import LinearMethod, WeightFormat
from inference.quantization.int4 import Int4Method
from inference.quantization.int8 import Int8Method


class Decoder:
    """A :class:`inference.model.runner.StepModel` of torch's own operations, on any device; keys and values live in the
    attention backend.

    Raises what ``check_tensors`` raises."""

    exact = False

    def __init__(
        self,
        source: WeightSource,
        method: LinearMethod,
        attention: AttentionBackend,
        *,
        max_positions: int,
        device: str = "cpu",
        alignment: int = 1,
    ) -> None:
        self._config = config = source.config
        self._attention, self._device, self.alignment = attention, device, alignment
        self.kv_cache_bytes = attention.nbytes
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
        self._cos, self._sin = (part.to(device).unsqueeze(1) for part in rotations(config, max_positions))

    def check(self, source: WeightSource, weight_format: WeightFormat) -> None:
        """Raises what ``check_layer`` raises."""
        index = len(self._layers) // 2
        output, down = self._layers[index].output, self._layers[index].down
        check_layer(source, index, weight_format, output=output, down=down, device=self._device)

    def forward(self, token_ids: Row[int], rows: Row[int], segments: Row[Segment]) -> Tensor:
        """See ``StepModel``."""
        positions = [position for segment in segments for position in range(segment.start, segment.end)]
        self._attention.prepare(segments)
        ids, places, chosen = (
            torch.tensor(values, dtype=torch.int64, device=self._device)
            for values in (token_ids, positions, rows)
        )
        x = F.embedding(ids, self._embedding)
        cos, sin = self._cos[places], self._sin[places]
        for layer in self._layers:
            x = layer(x, cos, sin, self._attention)
        return self._head(rms_norm(x[chosen], self._norm, self._config.rms_norm_eps)).float()
