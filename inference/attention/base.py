"""What an attention backend must do: keep keys and values in blocks, and attend to them.

A backend owns the KV tensors of all layers. Once per step it is told the step's layout; then, layer by layer,
it writes the new keys and values and attends with the new queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens of one sequence in a step: positions ``start .. start + length - 1``, kept in
    ``block_table``.
    """

    start: int
    length: int
    block_table: Sequence[int]

    @property
    def end(self) -> int:
        return self.start + self.length


class AttentionBackend(Protocol):
    """Rows of queries, keys and values are those of the segments, one after another. ``nbytes``: of all blocks."""

    nbytes: int

    def prepare(self, segments: Sequence[Segment]) -> None:
        """Lays out the next step. Segments of length 1 must come first."""
        ...

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Stores ``key`` and ``value`` ``[n, kv_heads, head_dim]`` at the segments' positions."""
        ...

    def attend(self, layer: int, query: Tensor) -> Tensor:
        """Causal attention of ``query`` ``[n, heads, head_dim]`` over each own sequence; returns the same
        shape.
        """
        ...
