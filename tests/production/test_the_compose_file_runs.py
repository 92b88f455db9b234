"""The processes of ``docker-compose.yml`` with their own commands, together, on PostgreSQL and Redis.

One installation for all tests of this file, which are read from top to bottom. Vectors lie in a test double
(:mod:`tests.production.qdrant_double`): nothing here was run against a Qdrant server.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.production.installation import NAME, PORTS, Installation, installed, until

pytestmark = [pytest.mark.postgres, pytest.mark.redis, pytest.mark.slow]

CANARY = "heliotrope-4711"
MANUAL = f"""# Pump manual

The pump of hall seven is greased every ninety days. Its serial number is {CANARY}.

## Winter

Before the first frost the pump is emptied, the valves are opened and the housing is covered.
"""
QUESTION = "How often is the pump of hall seven greased? Tell a long story about it."
EVENTS = {"accept": "text/event-stream"}
LOST_WITHIN_S = 10.0

Told = tuple[int, str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Site:
    """The running installation, with a client of each organisation at each web process."""

    installation: Installation
    keys: dict[str, str]

    def at(self, web: int, organization: str = "acme") -> httpx.Client:
        """A client of ``web1`` or ``web2`` with the organisation's key."""
        headers = {"Authorization": f"Bearer {self.keys[organization]}"}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{PORTS[f'web{web}']}/api/v1", headers=headers, timeout=30
        )

    def upload(self, web: int, name: str, text: str) -> str:
        with self.at(web) as client:
            sent = client.post("/documents", files={"file": (name, text.encode())})
        assert sent.status_code == 202, sent.text
        return str(sent.json()["id"])

    def document(self, web: int, document: str) -> dict[str, Any]:
        with self.at(web) as client:
            found: dict[str, Any] = client.get(f"/documents/{document}").json()
        return found

    def becomes_ready(self, document: str, seconds: float) -> None:
        def is_ready() -> bool:
            now = self.document(1, document)
            assert now["status"] != "failed", now
            return bool(now["status"] == "ready")

        until(is_ready, seconds, lambda: f"{self.document(1, document)}\n{self.installation.log('worker')}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything started, and two organisations made by the commands of the documentation."""
    with installed(tmp_path_factory.mktemp("production")) as installation:
        installation.manage(
            "createsuperuser", "--noinput", "--username", "root", "--email", "root@example.org",
            DJANGO_SUPERUSER_PASSWORD="correct horse battery",
        )  # fmt: skip

        def found(slug: str) -> str:
            installation.manage("organization", "create", slug, "--name", slug.title(), "--owner", "root")
            scopes = ("--scopes", "read,write")
            return installation.manage("apikey", "create", "--organization", slug, "--name", "test", *scopes)

        with ThreadPoolExecutor() as threads:
            acme, globex = threads.map(found, ("acme", "globex"))
        installation.wait_until_ready()
        yield Site(installation, {"acme": acme.strip(), "globex": globex.strip()})


@pytest.fixture(scope="module")
def manual(site: Site) -> str:
    """A document of acme, uploaded at the first web process and ready."""
    document = site.upload(1, "manual.md", MANUAL)
    site.becomes_ready(document, 30)
    return document


def events(lines: Iterator[str]) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


def stream(client: httpx.Client, turn: str, after: int = 0) -> list[Told]:
    headers = {**EVENTS, "Last-Event-ID": str(after)}
    with client.stream("GET", f"/answers/{turn}", headers=headers) as response:
        assert response.status_code == 200
        return list(events(response.iter_lines()))


class Asked:
    """A question at one web process, whose stream stays open there."""

    def __init__(self, site: Site, web: int) -> None:
        self._client = site.at(web)
        self._open = self._client.stream("POST", "/answers", json={"question": QUESTION}, headers=EVENTS)
        self._events = events(self._open.__enter__().iter_lines())
        self.told = [next(self._events)]
        self.turn = str(self.told[0][2]["turn_id"])

    def until_words_come(self, deltas: int = 3) -> None:
        while sum(name == "answer.delta" for _, name, _ in self.told) < deltas:
            self.told.append(next(self._events))

    def to_the_end(self) -> list[Told]:
        self.told.extend(self._events)
        self.close()
        return self.told

    def close(self) -> None:
        self._open.__exit__(None, None, None)
        self._client.close()


@pytest.mark.parametrize(
    "process", ["postgres", "redis", "qdrant", "inference", "web1", "web2", "worker", "beat"]
)
def test_every_service_is_healthy_by_its_own_check(site: Site, process: str) -> None:
    def is_healthy() -> bool:
        return site.installation.health(process).returncode == 0

    until(is_healthy, 20, lambda: site.installation.health(process).stderr)


def test_the_application_owns_its_tables_and_is_bound_by_row_security(site: Site) -> None:
    target = site.installation.environment("web1")["TESSERA_DATABASE_URL"]
    with psycopg.connect(target) as connection:
        role = connection.execute(
            "SELECT current_user, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert role == (NAME, False, False)
        assert connection.execute("SELECT count(*) FROM search_document").fetchone() == (0,)


def test_pages_come_with_their_styles(site: Site) -> None:
    address = f"http://127.0.0.1:{PORTS['web2']}"
    page = httpx.get(f"{address}/accounts/login/")
    assert page.status_code == 200
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
        assert httpx.get(address + path).status_code == 200, path
    assert "/static/app.css" in page.text


def test_an_upload_at_one_web_process_is_found_at_the_other(site: Site, manual: str) -> None:
    with site.at(2) as client:
        found = client.post("/search", json={"query": "pump hall seven"}).json()["results"]
    assert found[0]["document"]["id"] == manual
    assert CANARY in found[0]["text"]


def test_an_answer_is_streamed(site: Site, manual: str) -> None:
    told = Asked(site, 1).to_the_end()
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    names = [name for _, name, _ in told]
    assert names[:2] == ["run.created", "sources"]
    assert names[-1] == "answer.completed"
    assert told[1][2]["sources"][0]["document_id"] == manual


def test_a_stream_begun_at_one_web_process_is_read_and_stopped_at_the_other(site: Site, manual: str) -> None:
    asked = Asked(site, 1)
    asked.until_words_come()
    with site.at(2) as client, site.at(2) as another, ThreadPoolExecutor() as threads:
        read = threads.submit(stream, another, asked.turn)
        time.sleep(0.3)
        stopped = client.post(f"/answers/{asked.turn}/stop").json()
        assert stopped["status"] == "stopped"
        there, here = read.result(20), asked.to_the_end()
        assert there == here
        assert here[-1][2]["status"] == "stopped"
        assert stopped["answer"] == here[-1][2]["answer"]
        assert stream(client, asked.turn, after=4) == here[4:]


def test_another_organisation_sees_nothing(site: Site, manual: str) -> None:
    asked = Asked(site, 1)
    asked.until_words_come(1)
    for web in (1, 2):
        with site.at(web, "globex") as charlie:
            assert charlie.get("/documents").json()["results"] == []
            assert charlie.get(f"/documents/{manual}").status_code == 404
            assert charlie.post("/search", json={"query": CANARY}).json()["results"] == []
            assert charlie.get(f"/answers/{asked.turn}", headers=EVENTS).status_code == 404
            assert charlie.post(f"/answers/{asked.turn}/stop").status_code == 404
            answer = charlie.post("/answers", json={"question": QUESTION}).json()
            assert answer["status"] == "not_found"
            assert CANARY not in json.dumps(answer)
    with site.at(2) as client:
        client.post(f"/answers/{asked.turn}/stop")
    assert asked.to_the_end()[-1][2]["status"] == "stopped"


def long_text() -> str:
    return "\n\n".join(
        f"## Part {n}\n\n" + f"Valve {n} of the line is opened by hand and closed by lever {n + 7}. " * 12
        for n in range(50)
    )


def until_embedding(site: Site, document: str) -> None:
    def embeds() -> bool:
        now = site.document(2, document)
        assert now["status"] != "ready", "the file is too small to be interrupted"
        return bool(now["stage"] == "embedding")

    until(embeds, 30, lambda: site.installation.log("worker"), every=0.05)


def test_a_worker_asked_to_end_hands_its_file_back_and_one_that_is_killed_loses_nothing(site: Site) -> None:
    document = site.upload(2, "valves.md", long_text())
    until_embedding(site, document)
    assert site.installation.terminate("worker", 9) == 0
    assert site.document(1, document)["status"] == "queued"
    site.installation.start("worker")
    until_embedding(site, document)
    site.installation.kill("worker")
    assert site.document(1, document)["status"] == "processing"
    site.installation.start("worker")
    site.becomes_ready(document, 60)
    with site.at(1) as client:
        found = client.post("/search", json={"query": "lever 47"}).json()["results"]
    assert document in {hit["document"]["id"] for hit in found}
    site.installation.manage("audit_index")


def test_an_answer_whose_web_process_is_killed_ends_with_an_error(site: Site, manual: str) -> None:
    asked = Asked(site, 1)
    asked.until_words_come()
    with site.at(2) as client, site.at(2) as another, ThreadPoolExecutor() as threads:
        read = threads.submit(stream, another, asked.turn)
        time.sleep(0.3)
        site.installation.kill("web1")
        killed = time.monotonic()
        told = read.result(LOST_WITHIN_S)
        assert time.monotonic() - killed < LOST_WITHIN_S
        assert sum(name == "answer.delta" for _, name, _ in told) >= 1
        assert told[-1][1:] == ("error", {"code": "lost", "message": told[-1][2]["message"]})
        assert client.get(f"/answers/{asked.turn}").json()["status"] == "failed"


def test_no_process_wrote_a_traceback_nor_what_was_asked_or_read(site: Site) -> None:
    asked = httpx.get(f"http://127.0.0.1:{PORTS['web2']}/o/acme/", params={"q": CANARY})
    assert asked.status_code == 302
    for log in sorted(Path(site.installation.folder).glob("*.log")):
        written = log.read_text(encoding="utf-8", errors="replace")
        assert "Traceback" not in written, log.name
        for secret in (CANARY, "hall seven", *site.keys.values()):
            assert secret not in written, log.name
