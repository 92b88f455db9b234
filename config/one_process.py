"""One process at a time works on the state of the embedded mode: its number lies in ``var/serve.lock``."""

from __future__ import annotations

import fcntl
import os
from typing import TextIO

from django.conf import settings


class Held(Exception):
    """Another process holds the lock; the text is its number, ``role`` what it does."""

    def __init__(self, holder: str) -> None:
        number, _, self.role = holder.partition(" ")
        super().__init__(number)


def take(role: str) -> TextIO:
    """The lock, until the file is closed or the process ends. Raises :class:`Held`."""
    file = (settings.VAR / "serve.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Held(holder) from None
    file.truncate(0)
    file.write(f"{os.getpid()} {role}")
    file.flush()
    return file
