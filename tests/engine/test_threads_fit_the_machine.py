"""The kernels' threads spin while they wait: more of them than processors would stand in each other's way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference.kernels import library


@pytest.fixture
def sixty_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("99999999 100000", 64)],
)
def test_a_containers_quota_counts(tmp_path: Path, sixty_four: None, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n", encoding="ascii")
    assert library.usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_the_affinity_counts(tmp_path: Path, sixty_four: None) -> None:
    assert library.usable_cores(tmp_path / "none") == 64


def test_large_machines_do_not_give_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "usable_cores", lambda: 64)
    assert library.default_threads() == library.MOST_THREADS
    monkeypatch.setattr(library, "usable_cores", lambda: 3)
    assert library.default_threads() == 3
