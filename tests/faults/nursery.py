"""A process that has imported the product and forks its processes on request, so that each starts in a moment.

Reads a line of JSON ``{"process": ..., "arguments": [...], "log": ..., "moment": ...}`` and answers with the pid. What
always holds: it has no thread, no connection and no open index when it forks, and the settings of its environment are
those of all its children. ``moment`` (see :mod:`tests.faults.moments`) makes the child kill itself there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from typing import Any

import django


def main() -> None:
    django.setup()
    import search.index.server  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's zombies
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        print(pid, flush=True)


def _become(asked: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    random.seed()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    try:
        if asked["moment"]:
            from tests.faults import moments

            moments.arm(asked["moment"])
        _run(asked["process"], asked["arguments"])
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _run(process: str, arguments: list[str]) -> None:
    if process == "serve":
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", "serve", *arguments])
    elif process == "web":
        import uvicorn

        uvicorn.main(args=arguments)
    else:
        from config.celery import app

        app.start([process, *arguments])


if __name__ == "__main__":
    main()
