"""Whether a process without a port still works: it touches a file as it goes, and a health check looks at its age.

A worker touches its file between tasks and at each step of a job, so that one that hangs is found and one
that is busy is not; beat touches its own with every message that it sent.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, NoReturn

from config.env import env

Process = Literal["worker", "beat"]
SLACK_S = 60.0


def touch(process: Process) -> None:
    """Says that this process works."""
    _file(process).touch()


def check(process: Process) -> NoReturn:
    """The health check: ends with 0 for a process that works, otherwise with 1 and a sentence."""
    sys.exit(finding(process))


def finding(process: Process) -> str | None:
    """What is wrong with the process of this machine (in a container: of this container); None for nothing."""
    try:
        silent_s = time.time() - _file(process).stat().st_mtime
    except FileNotFoundError:
        return f"The {process} has not begun to work."
    longest_s = _longest_silence_s(process)
    if silent_s <= longest_s:
        return None
    return (
        f"The {process} has done nothing for {silent_s:.0f} s; {longest_s:.0f} s are the most that it needs."
    )


def _longest_silence_s(process: Process) -> float:
    """The longest step of a job is the parsing of a file, which has a time limit; beat sends each sweep."""
    return SLACK_S + (env().parse_wall_seconds if process == "worker" else env().sweep_seconds)


def _file(process: Process) -> Path:
    """Not under var/, which several containers share."""
    return Path(tempfile.gettempdir()) / f"tessera-{process}.heartbeat"
