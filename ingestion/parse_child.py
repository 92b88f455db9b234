"""The child process that reads one file: it limits itself, does one act, writes one JSON object, and ends. (Pages that
are read one by one are written one by one.)

A fork of :mod:`ingestion.nursery`, or started as ``python -m ingestion.parse_child LIFELINE``, with the request on
stdin. What always holds: the limits are set before the file is opened; no socket is connected and no program started;
neither Django nor torch is imported; it ends with the process that asked for it. The answer goes to the file that was
stdout, under RLIMIT_FSIZE.
"""

from __future__ import annotations

import base64
import dataclasses
import fcntl
import json
import logging
import os
import resource
import select
import sys
import warnings
from pathlib import Path
from typing import Any

from ingestion import time_left
from ingestion.guards import IngestionFailure, Limits

_FORBIDDEN = (
    "socket.connect",
    "socket.bind",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.fork",
)


def end_with_parent(lifeline: int) -> None:
    """Lets the system end this process (SIGIO, which nothing here handles) as soon as the other end of the pipe
    ``lifeline`` is closed, which it is when the parent dies. Ends it at once where that has happened already.

    PR_SET_PDEATHSIG would also fire when the *thread* that started this process ends.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    hung_up = select.poll()
    hung_up.register(lifeline, 0)  # POLLHUP is always told
    if hung_up.poll(0):
        os._exit(1)


def limit_process(limits: Limits) -> None:
    """Binds this process to ``limits``; a limit that is already lower stays."""
    output = 4 * limits.max_characters + 64 * 1024 * 1024
    for kind, wanted in (
        (resource.RLIMIT_AS, limits.memory_mb * 1024 * 1024),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        spare = 5 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(kind, (soft, soft + spare))


def _forbid(event: str, _: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not allowed while a file is read")


def _act(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    path = Path(request["path"])
    if request["act"] == "parse":
        from ingestion.parsers.registry import parse

        document = parse(path, request["filename"], limits=limits, password=request["password"])
        return dataclasses.asdict(document)
    from ingestion import pages

    if request["act"] == "render":
        png = pages.render(path, page=request["page"], scale=request["scale"])
        return {"png": base64.b64encode(png).decode("ascii")}
    found = pages.rectangles(
        path, page=request["page"], page_text=request["page_text"], start=request["start"], end=request["end"]
    )
    return dataclasses.asdict(found)


def main(lifeline: int) -> int:
    """Answers one request. The exit status is 0 also for a typed failure; 1 means no answer was written."""
    end_with_parent(lifeline)
    request = json.load(sys.stdin)
    limits = Limits(**request["limits"])
    limit_process(limits)
    time_left.begin()
    sys.addaudithook(_forbid)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answer_to = os.dup(1)
    os.dup2(2, 1)
    if request["act"] == "pages":
        from ingestion.page_texts import write

        with os.fdopen(answer_to, "wb") as out:
            write(request, out)
        return 0
    failure: IngestionFailure | None = None
    answer: dict[str, Any] = {}
    try:
        answer = {"result": _act(request, limits)}
        body = json.dumps(answer, ensure_ascii=False, default=str).encode("utf-8")
    except IngestionFailure as error:
        failure = error
    except MemoryError:
        failure = IngestionFailure("too_large")
    except Exception:  # a parser may raise anything on a broken file; all of it means one thing
        failure = IngestionFailure("malformed")
    if failure is not None:
        answer = {"failure": {"code": failure.code, "message": str(failure), "remedy": failure.remedy}}
        body = json.dumps(answer).encode("utf-8")
    with os.fdopen(answer_to, "wb") as out:
        out.write(body)
    return 0


if __name__ == "__main__":
    status = main(int(sys.argv[1]))
    os._exit(status)
