"""A decoder of the Llama, Mistral, Qwen2 or Qwen3 family, by configuration: the families differ in biases, norms of
queries and keys, and tied embeddings only.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend
from inference.model.layers import DecoderLayer, pack_fused, rms_norm
from inference.model.rope import rotations
from inference.model.source import EMBEDDING, WeightSource, check_tensors
from inference.quantization.base import LinearMethod


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
        if config.tie_word_embeddings:
            self._head = method.pack(self._embedding, None)
        else:
            self._head = pack_fused(source, method, ["lm_head"])
        self._cos, self._sin = (part.to(device) for part in rotations(config, max_positions))

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
