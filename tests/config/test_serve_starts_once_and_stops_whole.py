"""``manage.py serve`` says why it cannot start before it changes anything, and closes everything when it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

ROOT = Path(__file__).resolve().parents[2]
Serve = Callable[..., subprocess.Popen[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the command with its state under ``tmp_path / var`` and without models."""
    started: list[subprocess.Popen[str]] = []

    def start(*, port: int, var: str = "var") -> subprocess.Popen[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TESSERA_")}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port)],
            env={
                **kept,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "TESSERA_VAR_DIR": str(tmp_path / var),
                "TESSERA_LOAD_MODELS": "false",
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as at a terminal
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until_it_answers(process: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20)
            return
        except URLError:
            time.sleep(0.1)
    pytest.fail("the server does not answer")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_closes_everything(serve: Serve, number: int) -> None:
    port = free_port()
    process = serve(port=port)
    wait_until_it_answers(process, port)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.rstrip().endswith("Tessera has stopped. `make run` starts it again.")
    assert "Traceback" not in said


def test_a_taken_port_is_said_before_anything_is_done(serve: Serve, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        said, _ = serve(port=port).communicate(timeout=60)
    assert f"Tessera cannot listen on 127.0.0.1, port {port}: Address already in use." in said
    assert "make run PORT=" in said
    assert "Stop      Ctrl-C" not in said
    assert "Traceback" not in said
    assert not (tmp_path / "var" / "tessera.sqlite3").exists()


def test_a_second_start_names_the_first(serve: Serve) -> None:
    port = free_port()
    first = serve(port=port)
    wait_until_it_answers(first, port)
    second = serve(port=free_port())
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"(process {first.pid})" in said
    assert "Traceback" not in said
    assert first.poll() is None


def test_the_lock_of_a_killed_process_is_no_obstacle(serve: Serve) -> None:
    first_port, second_port = free_port(), free_port()
    first = serve(port=first_port)
    wait_until_it_answers(first, first_port)
    first.kill()
    first.wait()
    wait_until_it_answers(serve(port=second_port), second_port)
