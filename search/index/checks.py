"""What every implementation refuses before it calls Qdrant, which would accept it in silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.index.base import Point, Vector

UNIT_TOLERANCE = 0.01
"""How far a length may be from 1. Rounding to float16 moves the length of a unit vector by about 0.0005."""


def check_points(points: Sequence[Point], dimension: int) -> None:
    """Raises ``ValueError`` when any vector is not finite, not of unit length or of another dimension."""
    for point in points:
        check_vector(point.dense, dimension, f"point {point.id}")


def check_vector(vector: Vector, dimension: int, name: str) -> None:
    """Raises ``ValueError`` when ``vector`` is no unit vector ``[dimension]``; ``name`` is for people."""
    if vector.shape != (dimension,):
        raise ValueError(f"The vector of {name} has the shape {vector.shape}, not ({dimension},).")
    if not np.isfinite(vector).all():
        raise ValueError(f"The vector of {name} has a value that is not a finite number.")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(length - 1.0) > UNIT_TOLERANCE:
        raise ValueError(f"The vector of {name} has the length {length:.4f}, not 1.")


def check_limit(limit: int) -> None:
    """Raises ``ValueError`` for a limit below one."""
    if limit < 1:
        raise ValueError(f"A limit of {limit} asks for nothing.")
