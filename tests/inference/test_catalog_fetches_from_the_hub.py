from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import catalog
from inference.errors import WeightsCorrupt, WeightsMissing
from inference.pins import CATALOG
from tests.inference.hub import CONTENT, Hub, running_hub, tiny_model


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setitem(CATALOG, "tiny", tiny_model())
    with running_hub() as running:
        yield running


def test_a_file_is_fetched_verified_and_found_again(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url, progress=lambda *n: seen.append(n))
    assert path.read_bytes() == CONTENT
    assert catalog.path("tiny", tmp_path) == path
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert hub.requests == [("/someone/tiny/resolve/main/tiny.gguf", None)]


def test_a_cached_model_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    catalog.fetch("tiny", tmp_path, source="hub", hub_url="http://127.0.0.1:1")
    assert len(hub.requests) == 1


def test_a_broken_download_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = 100_000
    with pytest.raises(WeightsMissing):
        catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    with pytest.raises(WeightsMissing):
        catalog.path("tiny", tmp_path)
    path = catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    assert path.read_bytes() == CONTENT
    assert hub.requests[1][1] == "bytes=100000-"


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"more"])
def test_other_bytes_are_refused_and_not_kept(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.content = content
    with pytest.raises(WeightsCorrupt):
        catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    assert [file for file in (tmp_path / "tiny").iterdir() if file.is_file()] == []


def test_a_file_that_was_changed_later_is_refused_and_replaced(hub: Hub, tmp_path: Path) -> None:
    path = catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsCorrupt):
        catalog.path("tiny", tmp_path)
    catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)
    assert path.read_bytes() == CONTENT


def test_a_verified_file_is_not_hashed_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)

    def fail(file: Path) -> str:
        raise AssertionError(f"{file} was hashed again")

    monkeypatch.setattr(catalog, "_sha256", fail)
    assert catalog.path("tiny", tmp_path) == path


def test_four_callers_at_once_make_one_download(hub: Hub, tmp_path: Path) -> None:
    def fetch() -> None:
        catalog.fetch("tiny", tmp_path, source="hub", hub_url=hub.url)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.requests) == 1


def test_an_unknown_name_says_which_are_known() -> None:
    with pytest.raises(WeightsMissing) as error:
        catalog.path("gpt-5")
    assert "all-MiniLM-L6-v2" in error.value.hint
