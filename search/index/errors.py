"""What can go wrong with an index: each error has a code, a sentence for the person and a hint what to do."""

from __future__ import annotations


class IndexFailure(Exception):
    """The base of all. ``str(error)`` and ``hint`` are for the operator; people and programs that search get
    ``message`` and ``detail``, which name no part of the installation.
    """

    code = "index_failed"
    status = 503
    retry_after_s = 5
    message = "The search index does not answer."
    detail = "Try again in a few seconds. If it stays so, tell the operator of this installation."
    hint = "Rebuild the index from the rows with `manage.py reindex`."

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class IndexLocked(IndexFailure):
    """Another process holds the embedded index."""

    code = "index_locked"
    hint = "Stop the running product and try again, or use a Qdrant server (TESSERA_QDRANT_URL)."


class IndexMismatch(IndexFailure):
    """The index was made for other vectors or by another version of its layout."""

    code = "index_mismatch"


class IndexAway(IndexFailure):
    """The server, or the process, that holds the index does not answer. It says nothing about what was asked of it."""

    code = "index_away"


class IndexClosed(IndexAway):
    """The object was closed, or carried into a forked process."""

    code = "index_closed"
    hint = "Open the index after the fork, through open_index()."


class LocalModeRefused(IndexFailure):
    """The address is not a server's; qdrant-client would run its own slow engine instead."""

    code = "index_local_mode"
    hint = "Set TESSERA_QDRANT_URL to http://host:6333 of a Qdrant server, or leave it empty for Qdrant Edge."
