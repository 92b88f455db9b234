"""A decoder of the Llama or Qwen2 family, by configuration: the families differ in biases and tied embeddings
only.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import AttentionBackend
from inference.errors import WeightsCorrupt
from inference.model.layers import DecoderLayer, pack_fused, rms_norm
from inference.model.rope import RotaryEmbedding
from inference.model.source import WeightSource
from inference.quantization.base import LinearMethod

EMBEDDING = "model.embed_tokens.weight"


class Decoder:
    """Tokens in, logits out; keys and values live in the attention backend.

    Raises ``WeightsCorrupt`` when the checkpoint lacks a tensor or one has another shape than the
    configuration.
    """

    def __init__(
        self, source: WeightSource, method: LinearMethod, *, max_positions: int, device: str
    ) -> None:
        config = source.config
        self.config = config
        try:
            self._embedding = source.tensor(EMBEDDING).to(device)
            if tuple(self._embedding.shape) != (config.vocab_size, config.hidden_size):
                raise WeightsCorrupt(f"{EMBEDDING} has the shape {tuple(self._embedding.shape)}.")
            self._layers = [
                DecoderLayer(index, source, config, method, device)
                for index in range(config.num_hidden_layers)
            ]
            self._norm = source.tensor("model.norm.weight").to(device)
            if config.tie_word_embeddings:
                self._head = method.pack(self._embedding, None)
            else:
                self._head = pack_fused(source, method, ["lm_head"])
        except KeyError as error:
            raise WeightsCorrupt(f"The checkpoint lacks the tensor {error}.") from error
        self._rope = RotaryEmbedding(config, max_positions, device)

    def forward(
        self, token_ids: Tensor, positions: Tensor, rows: Tensor, attention: AttentionBackend
    ) -> Tensor:
        """Logits fp32 ``[len(rows), vocab]`` of the chosen rows.

        ``token_ids`` and ``positions`` are int64 ``[n]``, laid out as the step that ``attention`` was
        prepared for; ``rows`` indexes them.
        """
        x = F.embedding(token_ids, self._embedding)
        cos, sin = self._rope.at(positions)
        for layer in self._layers:
            x = layer(x, cos, sin, attention)
        chosen = rms_norm(x[rows], self._norm, self.config.rms_norm_eps)
        return self._head(chosen).float()
