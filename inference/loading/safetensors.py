"""Reads the tensors of a folder of ``*.safetensors`` files, one at a time, as fp32."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from inference.errors import WeightsCorrupt, WeightsMissing
from inference.quantization.int4 import GroupedWeight


class SafetensorsFolder:
    """All tensors of a folder under their own names; shards need no index file.

    Raises ``WeightsMissing`` when the folder has no ``*.safetensors``, ``WeightsCorrupt`` when one
    cannot be read."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise WeightsMissing(f"There is no .safetensors file in {folder.name}.")
        self._file_of: dict[str, Path] = {}
        for file in files:
            try:
                with safe_open(file, framework="pt") as opened:
                    self._file_of.update(dict.fromkeys(opened.keys(), file))
            except SafetensorError as error:
                raise WeightsCorrupt(f"{file.name} is not a readable safetensors file: {error}.") from error

    def names(self) -> list[str]:
        return list(self._file_of)

    def stored(self, name: str) -> torch.Tensor:
        """The tensor in its own dtype. Raises ``KeyError`` for an unknown name."""
        with safe_open(self._file_of[name], framework="pt") as opened:
            values: torch.Tensor = opened.get_tensor(name)
        return values

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor as fp32. Raises ``KeyError`` for an unknown name."""
        return self.stored(name).to(torch.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises ``KeyError`` for an unknown name."""
        with safe_open(self._file_of[name], framework="pt") as opened:
            return tuple(opened.get_slice(name).get_shape())

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows ``first .. last - 1`` as fp32. Raises ``KeyError`` for an unknown name."""
        with safe_open(self._file_of[name], framework="pt") as opened:
            values: torch.Tensor = opened.get_slice(name)[first:last]
        return values.to(torch.float32)

    def grouped(self, name: str) -> GroupedWeight | None:
        """The matrix as it is stored in 4 bits, or None."""
        return None
