"""The worst moments for a kill: a process that is armed with one kills itself there, the first time it comes by.

Each is told by a public function that the moment lies before or after, so that it stays where it is when what
is between changes.
"""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass
from typing import Any, Literal

Act = Literal["upload", "replace", "delete"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Before or after the ``call``-th call of ``function`` (``module:name``), in a process that does ``act``."""

    act: Act
    side: Literal["before", "after"]
    function: str
    call: int = 1


MOMENTS: dict[str, Moment] = {
    "the file is stored, no row names it": Moment("upload", "after", "ingestion.intake:Intake.finish"),
    "the rows are there, nobody was woken": Moment("upload", "before", "ingestion.jobs:wake_workers"),
    "the job is claimed": Moment("upload", "after", "ingestion.jobs:claim"),
    "the file is parsed": Moment("upload", "after", "ingestion.child:parse_file"),
    "the passages are embedded": Moment(
        "upload", "after", "inference.remote_embedder:RemoteEmbedder.embed_passages"
    ),
    "the rows of the passages are written": Moment("upload", "before", "search.corpus:index_version"),
    "the points are flushed": Moment("upload", "after", "search.corpus:index_version"),
    "the job is ended, not committed": Moment("upload", "after", "ingestion.jobs:Lease.hand_in"),
    "a replacing file is stored": Moment("replace", "after", "ingestion.intake:Intake.finish"),
    "the new version is published": Moment("replace", "before", "search.corpus:unindex_version"),
    "the old points are gone": Moment("replace", "after", "search.corpus:unindex_version"),
    "the old file is gone": Moment("replace", "after", "ingestion.files:discard"),
    "a document is marked for deletion": Moment("delete", "before", "search.corpus:remove_document"),
    "its points are gone": Moment("delete", "after", "search.corpus:_unindex_document"),
    "its file is gone": Moment("delete", "after", "django.core.files.storage:FileSystemStorage.delete"),
    "its rows are gone": Moment("delete", "before", "search.corpus:_unindex_document", call=2),
}


def target(moment: Moment) -> tuple[Any, str]:
    """Where the function of a moment is found, and its name there. Raises ``AttributeError`` where there is none any
    more."""
    module, _, path = moment.function.partition(":")
    owner: Any = importlib.import_module(module)
    *owners, last = path.split(".")
    for part in owners:
        owner = getattr(owner, part)
    getattr(owner, last)
    return owner, last


def arm(name: str) -> None:
    """Makes this process kill itself at a moment of :data:`MOMENTS`."""
    moment = MOMENTS[name]
    owner, last = target(moment)
    function = getattr(owner, last)
    calls = 0

    def deadly(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        value = None if moment.side == "before" else function(*arguments, **more)
        calls += moment.side == "before" or value is not None or last in SILENT
        if calls == moment.call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **more) if moment.side == "before" else value

    setattr(owner, last, deadly)


SILENT = frozenset({"hand_in", "unindex_version", "discard", "_unindex_document", "delete"})
"""Functions that return nothing; of the others None means that there was nothing to do."""
