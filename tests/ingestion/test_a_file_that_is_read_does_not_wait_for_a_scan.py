"""A file whose text takes long to be read, such as a scan, holds up neither the files that are read nor those that come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import runtime
from ingestion import ahead, child, jobs, pipeline
from ingestion.guards import Limits
from ingestion.jobs import Priority
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.publishing import publish
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.short_files import CountingEmbedder

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storage")]
__all__ = ["storage"]

LONG = b"long " * 30_000
WITHIN_S = 30.0


class Scan:
    """A file whose reader ends when it is let, or with the test."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), False
        self.published: list[tuple[str, bool]] = []
        self.on_publication: Callable[[], None] = lambda: None

    def read(self, on_page: Callable[[int, int], None]) -> None:
        self.begun.set()
        for page in range(int(WITHIN_S / 0.02)):
            if self.may_end.wait(0.02):
                break
            on_page(page, 2000)
        self.ended = True


@pytest.fixture
def scan(embedder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scan]:
    """A file named scan.txt is read slowly, all others at once."""
    slow = Scan()

    def read(path: Path, *, filename: str, limits: Limits, **others: Any) -> ParsedDocument:
        if filename == "scan.txt":
            slow.read(others["on_page"])
        return ParsedDocument("text/plain", (ParsedPage(1, path.read_text()),))

    monkeypatch.setattr(child, "parse_file", read)
    monkeypatch.setattr(ahead, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(ahead, "KEEP_SECONDS", 0.2)

    def publish_and_tell(lease: Any, version: Any) -> None:
        publish(lease, version)
        slow.published.append((version.document.filename, slow.ended))
        slow.on_publication()

    monkeypatch.setattr("ingestion.pipeline.publish", publish_and_tell)
    runtime.install(runtime.Runtime.of(embedder=CountingEmbedder(embedder.tokenizer)))
    yield slow
    slow.may_end.set()
    runtime.uninstall()


def end_when(
    scan: Scan, organization: Organization, *documents: Any, also: int = 0
) -> list[tuple[str, bool]]:
    """Lets the scan end once all of the documents are ready, looked at after each publication."""

    def look() -> None:
        if all(job_of(organization, each).status == "ready" for each in documents):
            scan.may_end.set()

    scan.on_publication = look
    assert pipeline.work_until_idle() == 1 + len(documents) + also
    return scan.published


def test_a_long_file_that_is_read_is_published_meanwhile(acme: Organization, scan: Scan) -> None:
    first = upload(acme, "scan.txt", b"a scan")
    long = upload(acme, "long.txt", LONG)
    assert end_when(scan, acme, long) == [("long.txt", False), ("scan.txt", True)]
    assert job_of(acme, first).status == "ready"


def test_files_that_come_meanwhile_are_claimed_and_published(acme: Organization, scan: Scan) -> None:
    first = upload(acme, "scan.txt", b"a scan")
    others = [upload(acme, f"{n}.txt", LONG + b"%d" % n) for n in range(3)]
    seen = end_when(scan, acme, *others)
    assert seen == [("0.txt", False), ("1.txt", False), ("2.txt", False), ("scan.txt", True)]
    job = job_of(acme, first)
    assert (job.status, job.attempts, job.interruptions) == ("ready", 0, 0)


def test_a_bulk_file_that_is_read_passes_a_scan_that_a_person_waits_for(
    acme: Organization, scan: Scan
) -> None:
    upload(acme, "scan.txt", b"a scan")
    bulk = upload(acme, "bulk.txt", LONG, priority=Priority.BULK)
    assert end_when(scan, acme, bulk) == [("bulk.txt", False), ("scan.txt", True)]


def test_of_those_that_are_read_one_of_another_organisation_has_its_turn(
    acme: Organization, globex: Organization, scan: Scan
) -> None:
    upload(acme, "scan.txt", b"a scan")
    own = [upload(acme, f"acme-{n}.txt", LONG + b"%d" % n) for n in range(2)]
    other = upload(globex, "globex.txt", LONG)
    seen = end_when(scan, acme, *own, also=1)
    assert [name for name, _ in seen] == ["globex.txt", "acme-0.txt", "acme-1.txt", "scan.txt"]
    assert job_of(globex, other).status == "ready"


def test_the_lease_of_what_is_being_read_is_kept(acme: Organization, scan: Scan) -> None:
    """While another one is in work it is renewed, with the pages that are read, and nobody takes it."""
    first = upload(acme, "scan.txt", b"a scan")
    upload(acme, "long.txt", LONG)

    class Waiting(CountingEmbedder):
        def embed_passages(self, texts: Any, *, on_batch: Any = None) -> Any:
            before, deadline = job_of(acme, first).done, time.monotonic() + WITHIN_S
            while len(texts) > 1 and job_of(acme, first).done <= before and time.monotonic() < deadline:
                on_batch(1)
            if len(texts) > 1:
                job = job_of(acme, first)
                seen.append((job.status, job.stage, job.done > before, jobs.claim()))
                scan.may_end.set()
            return super().embed_passages(texts, on_batch=on_batch)

    seen: list[tuple[str, str, bool, Any]] = []
    runtime.install(runtime.Runtime.of(embedder=Waiting(runtime.current().embedder.tokenizer)))
    assert pipeline.work_until_idle() == 2
    assert seen == [("processing", "parsing", True, None)]


def test_a_short_pause_of_a_reader_changes_no_order(
    acme: Organization, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "PATIENCE_SECONDS", 20.0)
    upload(acme, "scan.txt", b"a scan")
    upload(acme, "long.txt", LONG)
    threading.Timer(0.5, scan.may_end.set).start()
    assert pipeline.work_until_idle() == 2
    assert scan.published == [("scan.txt", True), ("long.txt", True)]


def test_a_worker_that_stops_returns_both(acme: Organization, scan: Scan) -> None:
    documents = [upload(acme, "scan.txt", b"a scan"), upload(acme, "long.txt", LONG)]
    began = time.monotonic()
    pipeline.work_until_idle(stopping=lambda: scan.begun.is_set() and time.monotonic() - began > 0.05)
    found = [job_of(acme, document) for document in documents]
    assert [(job.status, job.attempts, job.interruptions) for job in found] == [("queued", 0, 0)] * 2


def test_a_scan_that_takes_longer_than_a_turn_is_done_in_it(
    acme: Organization, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed back it would be read from its first page in every turn, and never be done while others come."""
    first = upload(acme, "scan.txt", b"a scan")
    upload(acme, "0.txt", LONG)
    others = iter(range(1, 1000))

    def another_comes() -> None:
        if not scan.ended:
            upload(acme, f"{(n := next(others))}.txt", LONG + b"%d" % n)

    scan.on_publication = another_comes
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 0.5)
    threading.Timer(4.0, scan.may_end.set).start()
    pipeline.work_until_idle(seconds=1.0)
    job = job_of(acme, first)
    assert (job.status, job.interruptions) == ("ready", 0)
    assert scan.ended
