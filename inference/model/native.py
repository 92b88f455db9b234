"""The decoder on the compiled kernels: weights in panels, a KV cache in bf16 or int8, one call per step.

What always holds: a row of logits depends on its own sequence alone, to the bit, whatever else is in the step and
however its prompt was cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from inference.attention.base import Segment
from inference.config import KVCacheFormat, ModelConfig
from inference.kernels import library, pages
from inference.kernels.library import BLOCK, GROUP, MAX_HEAD_DIM, MAX_ROWS, InstructionSet, Team, address
from inference.memory import kv_vector_bytes, return_freed_memory
from inference.model.packing_check import check_layer
from inference.model.rope import mean_rotated, rotations
from inference.model.source import (
    EMBEDDING,
    NORMS,
    PROJECTIONS,
    Arrange,
    WeightSource,
    check_tensors,
    in_four_bits,
    joined_bias,
    optional,
)
from inference.quantization.panels import (
    GroupedPanelLinear,
    PanelFormat,
    PanelLinear,
    from_tensor,
    interleave,
)

NativeFormat = Literal["bf16", "int8", "int4"]
LAYERS_AT_ONCE = 4
"""After so many layers the memory of what was read to pack them goes back to the system."""


def unsupported(config: ModelConfig, block_size: int) -> str | None:
    """Why the kernels cannot run a model of this shape, or None when they can."""
    if block_size != BLOCK:
        return f"the block size is {block_size}, not {BLOCK}"
    if config.head_dim % 64 or config.head_dim > MAX_HEAD_DIM:
        return f"heads have {config.head_dim} dimensions"
    if config.hidden_size % GROUP or config.intermediate_size % GROUP:
        return f"the sizes {config.hidden_size} and {config.intermediate_size} are no multiples of {GROUP}"
    if config.num_attention_heads // config.num_key_value_heads > MAX_ROWS:
        return "too many query heads share a key head"
    return None


class NativeDecoder:
    """A :class:`inference.model.runner.StepModel` on the processor.

    Memory: the packed weights and ``num_blocks`` blocks of keys and values. With int4 matrices the output layer and
    the embedding are int8. Raises what ``check_tensors`` and ``check_layer`` raise, ``KernelsUnavailable`` where
    there are no kernels."""

    alignment = 1
    exact = True

    def __init__(
        self,
        source: WeightSource,
        weight_format: NativeFormat,
        *,
        num_blocks: int,
        max_positions: int,
        num_threads: int = 0,
        instructions: InstructionSet = "",
        kv_cache_format: KVCacheFormat = "auto",
    ) -> None:
        check_tensors(source)
        self._team = Team(num_threads, instructions)
        self._config = config = source.config
        self._source, self._four_bits = source, weight_format == "int4"
        self._format: PanelFormat = "int8" if weight_format == "int4" else weight_format
        self._kept: list[Tensor | PanelLinear | GroupedPanelLinear] = []
        self._narrow = kv_cache_format == "int8"
        tile = BLOCK * kv_vector_bytes(config.head_dim, weight_format, kv_cache_format)
        shape = (config.num_hidden_layers, num_blocks, config.num_key_value_heads, tile)
        self._keys, self._values = (pages.zeros(shape, torch.int8) for _ in range(2))
        self.kv_cache_bytes = self._keys.nbytes + self._values.nbytes
        self._head, self._embedding = self._read_embedding()
        layers: list[library.Layer] = []
        for index in range(config.num_hidden_layers):
            layers.append(self._read_layer(index))
            if index % LAYERS_AT_ONCE == 0:
                return_freed_memory()
        self._layers = (library.Layer * len(layers))(*layers)
        middle = len(layers) // 2
        output, down = (
            partial(self._team.linear, matrix) for matrix in (layers[middle].output, layers[middle].down)
        )
        check_layer(source, middle, weight_format, output=output, down=down)
        cosines, sines = rotations(config, max_positions)
        self._model = library.Model(
            num_layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            ffn=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            kv_format=library.INT8 if self._narrow else library.BF16,
            eps=config.rms_norm_eps,
            layers=self._layers,
            norm=self._vector("model.norm.weight"),
            head=self._head.struct,
            cosines=self._keep(cosines),
            sines=self._keep(sines),
        )
        del self._source
        return_freed_memory()

    @property
    def nbytes(self) -> int:
        """Bytes of weights and of the KV cache."""
        return sum(item.nbytes for item in self._kept) + self.kv_cache_bytes

    def forward(self, token_ids: Sequence[int], rows: Sequence[int], segments: Sequence[Segment]) -> Tensor:
        """See ``StepModel``."""
        ids = torch.tensor(token_ids, dtype=torch.int64)
        hidden = self._embedding.gather(ids).contiguous()
        tables = torch.tensor(
            [block for segment in segments for block in segment.block_table], dtype=torch.int32
        )
        laid = (library.Segment * len(segments))()
        first, table = 0, address(tables)
        for slot, segment in zip(laid, segments, strict=True):
            slot.first, slot.length, slot.start, slot.blocks = first, segment.length, segment.start, table
            first += segment.length
            table += len(segment.block_table) * tables.itemsize
        chosen = torch.tensor(rows, dtype=torch.int32)
        logits = torch.empty(len(rows), self._head.n)
        step = library.Step(
            num_rows=len(ids),
            num_segments=len(segments),
            num_chosen=len(rows),
            x=address(hidden),
            segments=laid,
            chosen=address(chosen),
            logits=address(logits),
        )
        self._team.forward(self._model, step)
        return logits[:, : self._config.vocab_size]

    def _keep(self, tensor: Tensor) -> int:
        """Keeps a tensor alive as long as the model; returns its address."""
        kept = tensor.contiguous()
        self._kept.append(kept)
        return address(kept)

    def _vector(self, name: str) -> int | None:
        vector = optional(self._source, name)
        return None if vector is None else self._keep(vector.float())

    def _pack(self, names: Sequence[str], arrange: Arrange) -> library.Linear:
        """Projections of one input as one, their rows laid together by ``arrange``."""
        matrices, bias = [f"{name}.weight" for name in names], joined_bias(self._source, names, arrange)
        packed: PanelLinear | GroupedPanelLinear
        if self._four_bits:
            packed = GroupedPanelLinear(in_four_bits(self._source, matrices, arrange), bias)
        else:
            weight = arrange([self._source.tensor(name) for name in matrices])
            rows, inputs = weight.shape
            packed = PanelLinear(from_tensor(weight), (rows, inputs), self._format, bias)
        self._kept.append(packed)
        return packed.struct

    def _read_embedding(self) -> tuple[PanelLinear, PanelLinear]:
        """The output layer, and what embeds tokens: the same when they are tied."""
        config, source = self._config, self._source
        shape = (config.vocab_size, config.hidden_size)
        name = EMBEDDING if config.tie_word_embeddings else "lm_head.weight"
        head = PanelLinear(partial(source.rows, name), shape, self._format)
        self._kept.append(head)
        if config.tie_word_embeddings:
            return head, head
        embedding = PanelLinear(partial(source.rows, EMBEDDING), shape, "int8" if self._four_bits else "bf16")
        self._kept.append(embedding)
        return head, embedding

    def _read_layer(self, index: int) -> library.Layer:
        prefix = f"model.layers.{index}"
        linears = {
            part: self._pack(
                [f"{prefix}.{name}" for name in names], interleave if part == "gate_up" else torch.cat
            )
            for part, names in PROJECTIONS.items()
        }
        norms = {part: self._vector(f"{prefix}.{name}.weight") for part, name in NORMS.items()}
        bias, shift = optional(self._source, f"{prefix}.self_attn.k_proj.bias"), None
        if self._narrow and bias is not None and norms["key_norm"] is None:
            shift = self._keep(mean_rotated(self._config, bias))
        keys, values = address(self._keys[index]), address(self._values[index])
        return library.Layer(**linears, **norms, key_shift=shift, keys=keys, values=values)
