"""Paged attention in plain PyTorch: correct on every device, written for CPUs.

Keys and values are kept as they come, or in int8 with a scale per token and head; keys then after Hadamard's transform
of each 64 dimensions (fewer where a head has fewer).

Keys and values are gathered from their blocks and handed to ``scaled_dot_product_attention``. Prompt chunks
go through in tiles of ``TILE`` positions on a grid that is fixed for the sequence, so that most of the masked
half is never computed. Decode rows of similar length are padded together; with ``independent_rows`` every row
goes alone.

With ``independent_rows`` the shapes of all computations for a sequence depend on that sequence alone,
provided that its chunks end on the grid. Then no neighbour in the batch changes its result by one bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.attention.base import Segment
from inference.config import ModelConfig

TILE = 64
MAX_PADDING = 2
"""Decode rows are padded together while the longest has at most so many times the blocks of the shortest."""


@dataclass(frozen=True, slots=True)
class _DecodeGroup:
    """Decode rows computed together: their ``rows``, blocks ``[rows, blocks]`` and the additive mask
    ``[rows, 1, 1, keys]`` that hides padding and the unwritten end of the last block."""

    rows: Tensor
    blocks: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows ``first .. last - 1`` of the step and an additive mask ``[rows, keys]`` over its keys."""

    first: int
    last: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt chunk: the blocks that it attends to, and its tiles in order."""

    blocks: Tensor
    num_keys: int
    tiles: list[_Tile]


def spread(x: Tensor) -> Tensor:
    """Hadamard's orthonormal transform of each 64 dimensions, which shares what stands out in a few of them and leaves
    products as they were (Ashkboos et al., arXiv:2404.00456). Of fewer where they are no multiple of 64."""
    width, far = min(64, x.shape[-1] & -x.shape[-1]), 1
    while far < width:
        a, b = x.view(*x.shape[:-1], -1, 2, far).unbind(-2)
        x = torch.stack((a + b, a - b), -2).flatten(-3)
        far *= 2
    return x / math.sqrt(width)


class _Cache:
    """Keys or values ``[layers, blocks, block_size, kv_heads, head_dim]``; int8 with a scale per head and position."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
        self._rows = torch.zeros(shape, dtype=dtype, device=device)
        self._scales = torch.zeros(*shape[:-1], 1, device=device) if dtype == torch.int8 else None
        self.nbytes = self._rows.nbytes + (0 if self._scales is None else self._scales.nbytes)

    def put(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        if self._scales is not None:
            scales = rows.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
            self._scales[layer].flatten(0, 1).index_copy_(0, slots, scales)
            rows = (rows / scales).round()
        self._rows[layer].flatten(0, 1).index_copy_(0, slots, rows.to(self._rows.dtype))

    def take(self, layer: int, blocks: Tensor, dtype: torch.dtype) -> Tensor:
        """``[*blocks, block_size, kv_heads, head_dim]``."""
        rows = self._rows[layer][blocks].to(dtype)
        return rows if self._scales is None else rows * self._scales[layer][blocks].to(dtype)


class TorchPagedAttention:
    """See ``AttentionBackend``. ``dtype`` of the cache may be int8."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_blocks: int,
        block_size: int,
        device: str,
        dtype: torch.dtype = torch.float32,
        independent_rows: bool = False,
    ) -> None:
        shape = (
            config.num_hidden_layers,
            num_blocks,
            block_size,
            config.num_key_value_heads,
            config.head_dim,
        )
        self._keys, self._values = _Cache(shape, dtype, device), _Cache(shape, dtype, device)
        self.nbytes = self._keys.nbytes + self._values.nbytes
        self._spread = spread if dtype == torch.int8 else lambda x: x
        self._config = config
        self._block_size = block_size
        self._device = device
        self._independent_rows = independent_rows
        self._slots = torch.empty(0, dtype=torch.int64)
        self._decodes: list[_DecodeGroup] = []
        self._prompts: list[_Prompt] = []

    def prepare(self, segments: Sequence[Segment]) -> None:
        slots: list[int] = []
        self._prompts = []
        decodes: list[tuple[int, Segment]] = []
        for segment in segments:
            prompt_length = segment.length
            if segment.length == 1 or (segment.end - 1) % TILE == 0:
                # a last tile of one row: the same shapes whether or not it comes with the tiles before it
                prompt_length -= 1
                last = Segment(segment.end - 1, 1, segment.block_table)
                decodes.append((len(slots) + prompt_length, last))
            if prompt_length:
                chunk = Segment(segment.start, prompt_length, segment.block_table)
                self._prompts.append(self._plan_prompt(chunk, len(slots)))
            for position in range(segment.start, segment.end):
                block = segment.block_table[position // self._block_size]
                slots.append(block * self._block_size + position % self._block_size)
        self._slots = torch.tensor(slots, dtype=torch.int64, device=self._device)
        self._decodes = [self._plan_decodes(group) for group in self._group_decodes(decodes)]

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        self._keys.put(layer, self._slots, self._spread(key))
        self._values.put(layer, self._slots, value)

    def attend(self, layer: int, query: Tensor) -> Tensor:
        query = self._spread(query)
        output = torch.empty_like(query)
        for group in self._decodes:
            output[group.rows] = self._attend_decodes(layer, group, query[group.rows])
        for prompt in self._prompts:
            self._attend_prompt(layer, prompt, query, output)
        return output

    def _attend_decodes(self, layer: int, group: _DecodeGroup, query: Tensor) -> Tensor:
        rows, heads, head_dim = query.shape
        kv_heads = self._config.num_key_value_heads
        mixed = F.scaled_dot_product_attention(
            query.view(rows, kv_heads, heads // kv_heads, head_dim),
            self._keys.take(layer, group.blocks, query.dtype).flatten(1, 2).transpose(1, 2),
            self._values.take(layer, group.blocks, query.dtype).flatten(1, 2).transpose(1, 2),
            attn_mask=group.mask,
        )
        return mixed.reshape(rows, heads, head_dim)

    def _attend_prompt(self, layer: int, prompt: _Prompt, query: Tensor, output: Tensor) -> None:
        kv_heads = self._config.num_key_value_heads
        groups, head_dim = query.shape[1] // kv_heads, query.shape[2]
        key, value = (  # [kv_heads, keys, head_dim]
            cache.take(layer, prompt.blocks, query.dtype).flatten(0, 1)[: prompt.num_keys].transpose(0, 1)
            for cache in (self._keys, self._values)
        )
        for tile in prompt.tiles:
            rows, num_keys = slice(tile.first, tile.last), tile.mask.shape[1]
            mixed = F.scaled_dot_product_attention(
                query[rows].view(-1, kv_heads, groups, head_dim).permute(1, 2, 0, 3),
                key[:, :num_keys].unsqueeze(1).expand(-1, groups, -1, -1),
                value[:, :num_keys].unsqueeze(1).expand(-1, groups, -1, -1),
                attn_mask=tile.mask,
            )
            output[rows] = mixed.permute(2, 0, 1, 3).flatten(1, 2)

    def _plan_prompt(self, segment: Segment, first_row: int) -> _Prompt:
        tiles = []
        start = segment.start
        while start < segment.end:
            end = min(segment.end, start // TILE * TILE + TILE)
            mask = torch.full((end - start, end), float("-inf"), device=self._device).triu(start + 1)
            tiles.append(_Tile(first_row + start - segment.start, first_row + end - segment.start, mask))
            start = end
        num_blocks = -(-segment.end // self._block_size)
        blocks = torch.tensor(segment.block_table[:num_blocks], dtype=torch.int64, device=self._device)
        return _Prompt(blocks, segment.end, tiles)

    def _group_decodes(self, decodes: list[tuple[int, Segment]]) -> list[list[tuple[int, Segment]]]:
        groups: list[list[tuple[int, Segment]]] = []
        for row, segment in sorted(decodes, key=lambda item: item[1].end, reverse=True):
            if (
                groups
                and not self._independent_rows
                and groups[-1][0][1].end <= MAX_PADDING * segment.end + self._block_size
            ):
                groups[-1].append((row, segment))
            else:
                groups.append([(row, segment)])
        return groups

    def _plan_decodes(self, group: list[tuple[int, Segment]]) -> _DecodeGroup:
        width = -(-group[0][1].end // self._block_size)
        table = [
            [*segment.block_table[:width], *[segment.block_table[0]] * (width - len(segment.block_table))]
            for _row, segment in group
        ]
        lengths = torch.tensor([segment.end for _row, segment in group])
        beyond = torch.arange(width * self._block_size) >= lengths.unsqueeze(1)
        mask = torch.zeros(beyond.shape).masked_fill(beyond, float("-inf"))
        return _DecodeGroup(
            rows=torch.tensor([row for row, _segment in group], device=self._device),
            blocks=torch.tensor(table, device=self._device),
            mask=mask[:, None, None, :].to(self._device),
        )
