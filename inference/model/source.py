"""What the engine needs of a checkpoint, whatever file format it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from inference.config import ModelConfig
from inference.errors import UnsupportedCheckpoint, WeightsCorrupt
from inference.quantization.int4 import GroupedWeight, join, merge
from inference.request import ChatMessage, PromptTokens

EMBEDDING = "model.embed_tokens.weight"


class TokenStreamSource(Protocol):
    """Turns token ids into text as they come."""

    def push(self, token_id: int) -> str:
        """The text that is now complete: whole Unicode characters only."""
        ...

    def flush(self) -> str: ...


class TextTokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class TokenizerSource(TextTokenizer, Protocol):
    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...

    def stream(self) -> TokenStreamSource: ...


class Tokenizing:
    """What a ``TextGenerator`` leaves to its tokenizer."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        return self._tokenizer.render_chat(messages)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokenizer.token_bytes(token_id)

    def count_tokens(self, text: str) -> int:
        return len(self.encode(text))


class WeightSource(Protocol):
    """A checkpoint under Hugging Face's tensor names, q and k in rotate-half order, all fp32."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def tokenizer(self) -> TokenizerSource: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> Tensor: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        ...

    def rows(self, name: str, first: int, last: int) -> Tensor:
        """Rows ``first .. last - 1`` of a matrix, without reading the others. Not for q and k."""
        ...

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored where that is in 4 bits already, else None."""
        ...


PROJECTIONS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The products of a layer, and the matrices that each is made of."""
NORMS = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
}
"""The norms of a layer; the last two only where the family has them."""
Arrange = Callable[[list[Tensor]], Tensor]


def optional(source: WeightSource, name: str) -> Tensor | None:
    """A tensor, None where the checkpoint has no such one."""
    return source.tensor(name) if name in source.names() else None


def joined_bias(
    source: WeightSource, projections: Sequence[str], arrange: Arrange = torch.cat
) -> Tensor | None:
    """The biases of projections as one, zeros where one has none; None when there is none at all."""
    biases = [optional(source, f"{name}.bias") for name in projections]
    if all(bias is None for bias in biases):
        return None
    sizes = [source.shape(f"{name}.weight")[0] for name in projections]
    return arrange(
        [torch.zeros(size) if bias is None else bias for bias, size in zip(biases, sizes, strict=True)]
    )


def in_four_bits(source: WeightSource, names: Sequence[str], arrange: Arrange = torch.cat) -> GroupedWeight:
    """Matrices as one in 4 bits, with the codes that the checkpoint has where they can be kept."""
    return merge(join([source.grouped(name) for name in names], lambda i: source.tensor(names[i])), arrange)


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of this shape; each projection may have a bias beside them."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    width, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (width, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, width),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
    }
    if config.architecture == "qwen3":
        layer |= {"self_attn.q_norm": (config.head_dim,), "self_attn.k_norm": (config.head_dim,)}
    table = (config.vocab_size, hidden)
    head = {} if config.tie_word_embeddings else {"lm_head.weight": table}
    return {EMBEDDING: table, "model.norm.weight": (hidden,), **head} | {
        f"model.layers.{index}.{name}.weight": shape
        for index in range(config.num_hidden_layers)
        for name, shape in layer.items()
    }


def check_tensors(source: WeightSource) -> None:
    """Raises ``WeightsCorrupt`` when a tensor is missing or has another shape than the configuration says, and
    ``UnsupportedCheckpoint`` when there is one that the model would not use."""
    expected, stored = expected_shapes(source.config), source.names()
    for name in sorted(set(expected) - set(stored)):
        raise WeightsCorrupt(f"The checkpoint lacks the tensor {name}.")
    for name in stored:
        projection = f"{name.removesuffix('.bias')}.weight"
        if name not in expected and "_proj.bias" in name and projection in expected:
            expected[name] = expected[projection][:1]
        if name not in expected and not name.endswith(".rotary_emb.inv_freq"):
            raise UnsupportedCheckpoint(f"The checkpoint has a tensor {name} that the engine does not know.")
        if source.shape(name) != expected.get(name, source.shape(name)):
            raise WeightsCorrupt(
                f"The tensor {name} has the shape {source.shape(name)}, not {expected[name]}."
            )
