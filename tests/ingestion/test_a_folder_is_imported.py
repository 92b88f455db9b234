"""`manage.py ingest`: a folder becomes documents, and the next run follows what changed in it."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ingestion import jobs, sweeper
from ingestion.models import IngestionJob, Priority
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import Clock, upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    for name, text in {
        "a.txt": "Alpha.",
        "deep/b.md": "# Beta",
        ".hidden": "no",
        "deep/c.txt": "Gamma.",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "link.txt").symlink_to(folder / "a.txt")
    return folder


def ingest(folder: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("ingest", str(folder), "--organization", "acme", *options, stdout=out, stderr=out)
    return out.getvalue()


def refused(folder: Path, *options: str) -> str:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("ingest", str(folder), "--organization", "acme", *options, stdout=out, stderr=out)
    return out.getvalue()


def ids(organization: Organization) -> set[str | None]:
    with tenant_scope(organization):
        return set(Document.objects.values_list("external_id", flat=True))


def test_files_become_documents_in_bulk_under_their_paths(acme: Organization, handbook: Path) -> None:
    assert "3 added, 0 changed, 0 unchanged, 0 deleted, 0 refused" in ingest(handbook)
    assert ids(acme) == {"handbook/a.txt", "handbook/deep/b.md", "handbook/deep/c.txt"}
    with tenant_scope(acme):
        assert set(IngestionJob.objects.values_list("priority", flat=True)) == {Priority.BULK}
        assert Document.objects.filter(title="b.md", collection__name="General").exists()


def test_a_second_run_sends_only_what_changed(acme: Organization, handbook: Path) -> None:
    ingest(handbook)
    (handbook / "a.txt").write_text("Alpha, revised.")
    (handbook / "new.txt").write_text("Delta.")
    assert "1 added, 1 changed, 2 unchanged" in ingest(handbook)
    with tenant_scope(acme):
        assert Document.objects.get(external_id="handbook/a.txt").versions.count() == 2
        assert Document.objects.count() == 4


def test_choices_narrow_what_is_sent_and_where_it_goes(acme: Organization, handbook: Path) -> None:
    ingest(handbook, "--pattern", "*.txt", "--no-recursive", "--source", "hr", "--collection", "Rules")
    with tenant_scope(acme):
        (document,) = Document.objects.select_related("collection")
    assert (document.external_id, document.collection.name) == ("hr/a.txt", "Rules")


def test_what_is_gone_is_deleted_only_when_asked_and_only_of_this_source(
    acme: Organization, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(acme, external_id="wiki/1")
    ingest(handbook)
    (handbook / "a.txt").unlink()
    assert "0 deleted" in ingest(handbook)
    assert "1 deleted" in ingest(handbook, "--delete-missing")
    assert ids(acme) == {"wiki/1", None, "handbook/deep/b.md", "handbook/deep/c.txt"}
    clock = Clock()
    sweeper.sweep(clock=clock)
    assert ids(acme) == {"wiki/1", "handbook/deep/b.md", "handbook/deep/c.txt"}


def test_a_source_is_not_another_that_differs_in_case(acme: Organization, handbook: Path) -> None:
    upload(acme, external_id="Handbook/a.pdf")
    ingest(handbook, "--delete-missing")
    assert "Handbook/a.pdf" in ids(acme)


@pytest.mark.parametrize("narrow", [("--pattern", "*.md"), ("--no-recursive",)])
def test_what_was_not_looked_at_is_not_gone(
    acme: Organization, handbook: Path, narrow: tuple[str, ...]
) -> None:
    ingest(handbook)
    before = ids(acme)
    assert "0 deleted" in ingest(handbook, "--delete-missing", *narrow)
    (handbook / "deep" / "c.txt").unlink()
    assert "1 deleted" in ingest(handbook, "--delete-missing", *narrow)
    assert before - ids(acme) == {"handbook/deep/c.txt"}


def test_a_folder_that_cannot_be_listed_is_named_and_nothing_of_it_is_deleted(
    acme: Organization, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(handbook)
    listed = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    said = refused(handbook, "--delete-missing")
    assert "0 deleted" in said
    assert "deep: unreadable: Permission denied" in said
    assert len(ids(acme)) == 3


def test_a_folder_without_any_file_deletes_nothing(acme: Organization, handbook: Path) -> None:
    ingest(handbook)
    shutil.rmtree(handbook)
    handbook.mkdir()
    said = refused(handbook, "--delete-missing")
    assert "0 deleted" in said
    assert "nothing_found" in said
    assert len(ids(acme)) == 3


def test_files_that_are_not_sent_wake_nobody(
    acme: Organization, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(handbook)
    (handbook / "a.txt").write_text("Alpha, revised.")
    woken: list[int] = []
    monkeypatch.setattr(jobs, "wake_workers", lambda count=1: woken.append(count))
    ingest(handbook)
    assert woken == [1, 1]  # at the first that was sent, and at the end


def test_a_refused_file_stops_no_other_and_is_listed(acme: Organization, handbook: Path) -> None:
    (handbook / "b.exe").write_bytes(b"MZ" + b"\x90" * 300)
    said = refused(handbook)
    assert "3 added" in said
    assert "b.exe: unsupported: " in said


def test_waiting_ends_with_what_could_not_be_read(
    acme: Organization, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def somebody_works(_: float) -> None:
        lease = jobs.claim(clock=clock)
        assert lease is not None
        clock.forward(1)
        with tenant_scope(acme):
            name = Document.objects.get(id=lease.document_id).filename
        if name == "b.md":
            lease.fail(code="malformed", message="It is damaged.", remedy="Save it again.")
        else:
            lease.hand_in()

    monkeypatch.setattr(time, "sleep", somebody_works)
    said = refused(handbook, "--wait")
    assert "3 of 3 done" in said
    assert "deep/b.md: malformed: It is damaged." in said


def test_an_unknown_organisation_or_folder_is_said(
    acme: Organization, handbook: Path, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="no organisation"):
        call_command("ingest", str(handbook), "--organization", "nobody")
    assert refused(tmp_path / "nowhere") == ""


def test_the_longest_queue_does_not_bind_the_command(
    acme: Organization, handbook: Path, settings: Any
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_queued_files": 1})
    assert "3 added" in ingest(handbook)


def test_a_name_that_is_not_utf8_is_refused_and_the_rest_goes_on(acme: Organization, handbook: Path) -> None:
    (handbook / "caf\udce9.txt").write_text("Coffee.")
    said = refused(handbook)
    assert "3 added" in said
    assert "unsafe_name" in said
    assert "caf?.txt" in said
