"""Starts the product as `make run` does, on a folder of its own: a benchmark meets what a user meets."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Product:
    """A running product: its address, process and folder, with seconds from start to each milestone."""

    url: str
    process: subprocess.Popen[bytes]
    var_dir: Path
    page_s: float
    ready_s: float

    def resident_mb(self) -> float:
        """Resident memory of the process and its children, in megabytes."""
        root = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [root, *root.children(recursive=True)]) / 1e6

    def key(self, organization: str, scopes: str = "read,write") -> str:
        """A new API key."""
        run = subprocess.run(
            [
                *(sys.executable, "manage.py", "apikey", "create", "--organization", organization),
                *("--name", "benchmark", "--scopes", scopes),
            ],
            cwd=ROOT,
            env={**os.environ, "TESSERA_VAR_DIR": str(self.var_dir)},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.strip()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(url: str, *, timeout_s: float, process: subprocess.Popen[bytes]) -> None:
    """Returns when ``url`` answers 200.

    Raises ``RuntimeError`` when the process ends, ``TimeoutError`` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the product ended with {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(url)


@contextlib.contextmanager
def product(var_dir: Path, **settings: str) -> Iterator[Product]:
    """Runs ``manage.py serve --demo`` until the block ends. ``settings`` are environment variables."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--demo", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "TESSERA_VAR_DIR": str(var_dir), **settings},
    )
    try:
        wait_for(f"{url}/healthz", timeout_s=60, process=process)
        page = time.monotonic() - started
        wait_for(f"{url}/readyz", timeout_s=300, process=process)
        yield Product(url, process, var_dir, round(page, 2), round(time.monotonic() - started, 2))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def machine() -> dict[str, str]:
    """What a result was measured on."""
    names = ("torch", "sentence-transformers", "qdrant-edge-py", "django")
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
