"""A moment for a kill lies at a function of the product that is still there."""

from __future__ import annotations

import pytest

from tests.faults.moments import MOMENTS, target


@pytest.mark.parametrize("name", MOMENTS)
def test_it_is_found(name: str) -> None:
    owner, last = target(MOMENTS[name])
    assert callable(getattr(owner, last))
