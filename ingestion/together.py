"""Short files of one organisation that are read go on together: embedded in one call, indexed with one flush.

What always holds: each has its own lease, its own rows and its own publication; a lease that is lost costs its file only;
what goes wrong in a step that they share leaves every file as it was, to be done by itself (each step can be repeated);
and each job pays for its part of the time.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from inference.embedder import Embedder
from ingestion.ahead import ReadAhead, Reading
from ingestion.leases import LeaseLost, Stage, renew_all
from ingestion.parsed import ParsedDocument, TextChunk
from ingestion.publishing import Vectors, publish, seconds_to_write, write_rows
from search import corpus

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Member:
    """One of the files, read and cut. ``texts`` are what is embedded of its passages; ``vectors`` follow."""

    reading: Reading
    parsed: ParsedDocument
    passages: Sequence[TextChunk]
    texts: list[str]
    vectors: Vectors | None = None


class Together:
    """Files of one organisation on their way from passages to publication."""

    def __init__(
        self, members: Sequence[Member], *, embedder: Embedder, ahead: ReadAhead, progress_seconds: float
    ) -> None:
        self._members = list(members)
        self._embedder, self._ahead = embedder, ahead
        self._progress_seconds, self._told = progress_seconds, time.monotonic()
        self._totals = {each.reading.lease.job_id: len(each.passages) for each in members}
        self.ended: list[Reading] = []
        """Those that are published, or are no longer ours."""

    def run(self) -> None:
        """Raises whatever a shared step raises; those that are not among ``ended`` are then to be done one by one."""
        first = self._members[0].reading.lease
        began = first.clock()
        self._keep(Stage.EMBEDDING)
        self._embed()
        rows = sum(len(each.passages) + len(each.parsed.pages) for each in self._members)
        self._keep(Stage.INDEXING, seconds=seconds_to_write(rows))
        again = self._write_rows()
        corpus.index_versions(
            first.organization,
            [each.reading.version.id for each in self._members],
            again=again,
            on_batch=lambda _: self._after_batch(Stage.INDEXING),
        )
        for each in list(self._members):
            self._after_batch(Stage.INDEXING)  # publishing removes what it replaces, which may take long
            if each not in self._members:
                continue
            with self._unless_lost(each):
                self._charge(each, first.clock() - began)
                publish(each.reading.lease, each.reading.version)
                self._end(each)

    def _write_rows(self) -> list[uuid.UUID]:
        """The versions of which an earlier try had left rows."""
        again: list[uuid.UUID] = []
        for each in list(self._members):
            lease, version, vectors = each.reading.lease, each.reading.version, each.vectors
            assert vectors is not None
            with self._unless_lost(each):
                if write_rows(lease, version, each.parsed, each.passages, vectors, self._embedder.name):
                    again.append(version.id)
        return again

    def _embed(self) -> None:
        embedded = list(self._members)
        texts = [text for each in embedded for text in each.texts]
        vectors = np.empty((0, self._embedder.dimension), dtype=np.float32)
        if texts:
            vectors = self._embedder.embed_passages(
                texts, on_batch=lambda _: self._after_batch(Stage.EMBEDDING)
            )
        for each in embedded:
            each.vectors, vectors = vectors[: len(each.texts)], vectors[len(each.texts) :]

    def _after_batch(self, stage: str) -> None:
        if time.monotonic() - self._told >= self._progress_seconds:
            self._keep(stage)
        self._ahead.look_after()

    def _keep(self, stage: str, *, seconds: float | None = None) -> None:
        """Holds the leases on, and lets go of the files that are no longer ours. Raises ``LeaseLost`` when none is."""
        leases = [each.reading.lease for each in self._members]
        held = {
            lease.job_id for lease in renew_all(leases, stage=stage, totals=self._totals, seconds=seconds)
        }
        for each in list(self._members):
            with self._unless_lost(each):
                if each.reading.lease.job_id not in held:
                    raise LeaseLost(str(each.reading.lease.job_id))
        if not self._members:
            raise LeaseLost("all of them")
        self._told = time.monotonic()

    @contextlib.contextmanager
    def _unless_lost(self, member: Member) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            logger.info("job %s is no longer ours", member.reading.lease.job_id)
            self._end(member)

    def _end(self, member: Member) -> None:
        self._members.remove(member)
        self.ended.append(member.reading)

    def _charge(self, member: Member, elapsed: timedelta) -> None:
        """Lets the job pay for its reading and for its passages' part of what was done together."""
        lease, read_at = member.reading.lease, member.reading.result.result()[1]
        part = len(member.passages) / max(sum(self._totals.values()), 1)
        lease.begun_at = lease.clock() - (read_at - lease.begun_at) - elapsed * part
