"""What a locked package needs on any Python that we support is locked, also where it needs it on that one alone.

pip refuses a lock with a hole; a lock is made on one Python, and leaves out what another would need besides.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
INSTALLED = {canonicalize_name(found.name) for found in metadata.distributions()}
PYTHONS = ("3.11.0", "3.11.2", "3.11.4", "3.12.0", "3.13.0", "3.14.0")


def _locked(*files: str) -> set[str]:
    lines = [line for file in files for line in (REQUIREMENTS / file).read_text("utf-8").splitlines()]
    return {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line and line[0].isalnum()}


@pytest.mark.parametrize("python", PYTHONS)
def test_nothing_that_a_locked_package_needs_is_missing(python: str) -> None:
    locked = _locked("torch.txt", "lock.txt")
    assert {"django", "redis", "torch"} <= locked & INSTALLED
    environment: dict[str, Any] = {
        **default_environment(),
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "extra": "",
    }
    missing = [
        f"{name} needs {text}"
        for name in sorted(locked & INSTALLED)  # a locked package may be for other machines alone
        for text in metadata.requires(name) or []
        for need in [Requirement(text)]
        if (need.marker is None or need.marker.evaluate(environment))
        and canonicalize_name(need.name) not in locked
    ]
    assert missing == []
