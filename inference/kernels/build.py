"""Builds the kernels with whatever C compiler there is, once, and keeps the result by the hash of what made it.

The library lies in a folder of the user's own (mode 0700); a folder or a file that belongs to somebody else,
or that others may write, is refused, since loading it would run their code.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
ENTRY = SOURCES / "cpu.c"
FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
LIBRARIES = ("-lm", "-lpthread")
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT_S = 120.0


class KernelsUnavailable(Exception):
    """The kernels cannot run here; the text says why."""


def cache_dir() -> Path:
    """``tessera/kernels`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tessera" / "kernels"


def find_compiler() -> list[str]:
    """The command of a C compiler: the system's, else that of the ``ziglang`` package.

    Raises ``KernelsUnavailable`` when there is neither.
    """
    for name in COMPILERS:
        found = shutil.which(name)
        if found:
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise KernelsUnavailable("There is no C compiler; install one (gcc, clang) or the package ziglang.")


@cache
def load_library() -> ctypes.CDLL:
    """The kernels, built if they are not there yet. Raises ``KernelsUnavailable``."""
    if platform.machine().lower() not in ("x86_64", "amd64") or os.name != "posix":
        raise KernelsUnavailable(f"There are no kernels for {platform.system()} on {platform.machine()}.")
    try:
        return ctypes.CDLL(str(build(cache_dir())))
    except OSError as error:
        raise KernelsUnavailable(f"The kernels cannot be kept or loaded: {error}.") from error


def build(folder: Path) -> Path:
    """Compiles the sources into ``folder`` unless the result is there; returns its path.

    Two processes may do so at once: each builds a file of its own and moves it into place. Raises
    ``KernelsUnavailable`` and ``OSError``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_others(folder)
    compiler = find_compiler()
    library = folder / f"cpu-{_fingerprint(compiler)}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / "cpu.so"
            _compile(compiler, built)
            built.replace(library)
    _refuse_others(library)
    return library


def _fingerprint(compiler: list[str]) -> str:
    digest = hashlib.sha256(repr((compiler, FLAGS, LIBRARIES, platform.libc_ver())).encode())
    for source in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:24]


def _compile(compiler: list[str], target: Path) -> None:
    command = [*compiler, *FLAGS, "-o", str(target), str(ENTRY), *LIBRARIES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise KernelsUnavailable(f"The compiler failed: {error}.") from error
    if done.returncode != 0:
        raise KernelsUnavailable(f"The compiler failed: {done.stderr.strip()[:2000]}")
    logger.info("built the kernels with %s", compiler[0])


def _refuse_others(path: Path) -> None:
    facts = path.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KernelsUnavailable(f"{path} belongs to somebody else, or others may write it.")
