"""The process that has imported what reading a file needs, and forks a child for each file.

Starting an interpreter and importing the parsers costs ten times what reading a short file does. What always holds: this
process has one thread, neither Django nor torch nor a secret; it opens no file that somebody uploaded, and reads no
request and no answer: all it does is fork, wait and kill. So a fork has nothing of any file before its own. It becomes
what :mod:`ingestion.parse_child` is: in a session of its own, with a folder of its own, limited before it opens its file.

Started by :mod:`ingestion.forking` as ``python -m ingestion.nursery`` with its end of a socket as stdin. A message there
comes with four descriptors for a child: the socket on which its end is told, its stdin, its stdout, its lifeline. When
the other side closes that socket the child is killed with its session. All end when the parent does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from ingestion import parse_child
from ingestion.formats import parsers

PRELOADED: Final = ("charset_normalizer", "email.policy", "lxml.etree", "pypdf", "striprtf.striprtf")
"""Libraries that take little memory and start no thread. The forks that need another one import it."""
LARGEST_MESSAGE: Final = 8192
_LIFELINE: Final = 3


class Nursery:
    """The living forks of one parent, each with the socket on which its end is told."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Forks until the parent closes its end or is gone; then kills what is left."""
        deaths, woken = socket.socketpair()
        for end in (deaths, woken):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        self._selector.register(deaths, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is deaths:
                    deaths.recv(4096)
                    self._reap()
                elif key.fileobj is self._control:
                    if not self._fork():
                        for child in list(self._lines):
                            _kill(child)
                        return
                elif key.data in self._lines:  # nobody waits for it any more
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)

    def _fork(self) -> bool:
        """False when the parent has closed its end."""
        message, descriptors, _, _ = socket.recv_fds(self._control, LARGEST_MESSAGE, 4)
        if not message:
            return False
        try:
            line, *files = descriptors
            child = os.fork() if len(files) == 3 else -1
        except (OSError, ValueError):  # no process is to be had, or no descriptor
            child = -1
        if child < 0:  # this request alone: its line hangs up, and a program reads the file
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        if child == 0:
            _become_a_reader(json.loads(message), *files)
        for descriptor in files:
            os.close(descriptor)
        self._lines[child] = socket.socket(fileno=line)
        self._selector.register(line, selectors.EVENT_READ, child)
        return True

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                line = self._lines.pop(ended[0])
                with contextlib.suppress(KeyError):
                    self._selector.unregister(line)
                with line, contextlib.suppress(OSError):
                    line.send(b"%d" % os.waitstatus_to_exitcode(ended[1]))


def _kill(child: int) -> None:
    """Nobody has waited for it yet, so that its number is no other process's."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has no session of its own yet
        os.kill(child, signal.SIGKILL)


def _become_a_reader(message: dict[str, str | int], asked: int, answered: int, lifeline: int) -> NoReturn:
    """What ``subprocess`` does for a program, and then the program. Never returns into the loop."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(asked, 0)
        os.dup2(answered, 1)
        os.dup2(lifeline, _LIFELINE)
        for open_here in list(Path("/proc/self/fd").iterdir()):
            if int(open_here.name) > _LIFELINE:
                with contextlib.suppress(OSError):
                    os.close(int(open_here.name))
        os.environ["TMPDIR"] = str(message["scratch"])
        os.nice(int(message["nice"]))
        status = parse_child.main(_LIFELINE)
    except BaseException:  # as an interpreter that ends with a traceback, which nobody would see
        status = 1
    finally:
        os._exit(status)


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    parsers()
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that a collection in a fork copies none of these pages
    Nursery(control).serve()


if __name__ == "__main__":
    main()
    sys.exit(0)
