"""A file that kills its reader each time it is read fails with a reason, and no other file notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion import forking, pipeline
from search import reindex
from tenants.models import Organization
from tests.ingestion.corpus_of_acme import Clock, job_of, upload
from tests.ingestion.ready_for_work import storage
from tests.ingestion.words_for_work import words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("words")]
__all__ = ["storage", "words"]

ROOT = Path(__file__).resolve().parents[2]
PARSER = """
import os, signal
from ingestion.formats import Format

FORMAT = Format(media_type="text/x-poison", name="Poison", magic=b"%POISON")


def parse(path, *, limits, password):
    way = path.read_text().split()[1]
    Path(os.environ["TESSERA_TEST_READ"]).open("a").write(way + "\\n")
    if way == "hog":
        held = []
        while True:
            held.append(bytes(1 << 20))
    os.kill(os.getpid(), getattr(signal, way))
"""
CUSTOMIZE = """
from ingestion import parsers
parsers.__path__.append({folder!r})
"""
DEATHS = {
    "SIGSEGV": ("malformed", 1),
    "SIGABRT": ("malformed", 1),
    "SIGKILL": ("too_large", 3),
    "hog": ("too_large", 3),
}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Path]:
    """Children know one more format, whose parser dies as the file says. Returns a file with a line for each time that
    one was read."""
    folder = tmp_path / "poison"
    folder.mkdir()
    told = folder / "read"
    (folder / "poison.py").write_text("from pathlib import Path" + PARSER)
    (folder / "sitecustomize.py").write_text(CUSTOMIZE.format(folder=str(folder)))
    more = {"PYTHONPATH": f"{folder}:{ROOT}", "TESSERA_TEST_READ": str(told)}
    monkeypatch.setattr(forking, "ENVIRONMENT", {**forking.ENVIRONMENT, **more})
    monkeypatch.setattr(forking, "_nurseries", forking._Nurseries())
    settings.ENV = settings.ENV.model_copy(update={"parse_memory_mb": 256})
    yield told
    forking._nurseries.close()


@pytest.mark.parametrize("way", DEATHS)
def test_it_ends_after_its_attempts_and_the_others_are_ready(
    acme: Organization, globex: Organization, read: Path, way: str
) -> None:
    code, attempts = DEATHS[way]
    clock = Clock()
    before = upload(acme, "before.txt", b"The boiler is in hall one.")
    poison = upload(acme, "poison.txt", f"%POISON {way}".encode())
    after = upload(acme, "after.txt", b"The turbine is in hall two.")
    of_another = upload(globex, "other.txt", b"The rotor is in hall three.")
    pipeline.work_until_idle(clock=clock)
    good = [(acme, before), (acme, after), (globex, of_another)]
    assert [job_of(*each).status for each in good] == ["ready"] * 3, (
        "they do not wait for the attempts of another"
    )
    for _ in range(4):
        clock.forward(60)
        pipeline.work_until_idle(clock=clock)
    job = job_of(acme, poison)
    assert (job.status, job.error_code, job.attempts, job.interruptions) == ("failed", code, attempts, 0)
    assert read.read_text().split() == [way] * attempts
    assert job.error_message.endswith(".")
    assert job.error_remedy.endswith(".")
    assert [(job_of(*each).attempts, job_of(*each).interruptions) for each in good] == [(0, 0)] * 3
    found = reindex.audit(acme)
    assert found.clean
    assert found.points == found.rows == 2
