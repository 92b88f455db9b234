"""What the jobs of a product that runs by itself have come to, read past it: a process of it would take its cores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def statuses(var: Path) -> list[str]:
    """The status of every job in the embedded database of the state folder ``var``."""
    with closing(sqlite3.connect(f"file:{var}/tessera.sqlite3?mode=ro", uri=True, timeout=20)) as rows:
        return [status for (status,) in rows.execute("SELECT status FROM ingestion_ingestionjob")]
