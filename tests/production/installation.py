"""The installation that ``docker-compose.yml`` describes, as processes of this machine.

Commands, environment and health checks are read from the file. What differs from the containers: addresses and
ports; a small model; short leases and sweeps, so that a test need not wait for a minute; a folder of its own for what a
container keeps in its ``/tmp``; and a test double in the place of the Qdrant server.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAME = "tessera_production_test"
PORTS = {"inference": 8180, "web1": 8181, "web2": 8182, "qdrant": 8183}
BROKER_DB, SHARED_DB = 11, 12
SECRET = "only-for-this-test-" * 3
BIN = Path(sys.executable).parent
QUICK = {
    "TESSERA_MODEL": "smollm2-135m-instruct",
    "TESSERA_LEASE_SECONDS": "5",
    "TESSERA_SWEEP_SECONDS": "1",
    "TESSERA_KERNELS": "off",  # slow enough that an answer can be caught half way
    "TESSERA_MAX_ANSWER_TOKENS": "200",
    "TESSERA_MIN_SIMILARITY": "0.1",
    "OMP_NUM_THREADS": "1",
}


class Installation:
    """The processes by name: those of the compose file, ``web`` twice."""

    def __init__(self, folder: Path) -> None:
        compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
        self.services: dict[str, Any] = compose["services"]
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        database = urlsplit(os.environ["TESSERA_TEST_POSTGRES_URL"])
        self._redis = urlsplit(os.environ["TESSERA_TEST_REDIS_URL"])._replace(path="").geturl()
        self._database = f"{database.hostname}:{database.port or 5432}/{NAME}"

    # -- what the compose file says, at the addresses of this machine

    def environment(self, process: str) -> dict[str, str]:
        """The variables of a service of ours, without those of this process."""
        given = self.services[_service(process)]["environment"]
        temporary = self.folder / f"tmp-{process}"
        temporary.mkdir(exist_ok=True)
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("TESSERA_", "DJANGO_"))
        }
        models = {k: v for k, v in os.environ.items() if k == "TESSERA_MODELS_DIR"}
        ours = {key: self._here(str(value)) for key, value in given.items() if value is not None}
        return kept | models | ours | QUICK | {
            "TESSERA_VAR_DIR": str(self.folder / "data"),
            "TMPDIR": str(temporary),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

    def command(self, process: str) -> list[str]:
        """The service's command, on the port of this process."""
        words = [str(word) for word in self.services[_service(process)]["command"]]
        here = {"8000": str(PORTS.get(process)), "8001": str(PORTS["inference"])}
        return [here.get(word, word.replace("/tmp/beat", f"{self.folder}/beat")) for word in words]

    def _here(self, value: str) -> str:
        value = re.sub(r"\$\{TESSERA_ALLOWED_HOSTS:[^}]*\}", "search.example.org,127.0.0.1", value)
        value = re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, value)
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        value = value.replace("//tessera:", f"//{NAME}:").replace("postgres:5432/tessera", self._database)
        value = value.replace("redis://redis:6379/0", f"{self._redis}/{BROKER_DB}")
        value = value.replace("redis://redis:6379/1", f"{self._redis}/{SHARED_DB}")
        value = value.replace("qdrant:6333", f"127.0.0.1:{PORTS['qdrant']}")
        return value.replace("inference:8001", f"127.0.0.1:{PORTS['inference']}")

    # -- processes

    def start(self, process: str) -> None:
        with self._log(process).open("ab") as log:
            self.processes[process] = subprocess.Popen(
                self.command(process),
                env=self.environment(process),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, process: str) -> None:
        """As ``kill -9``, with the children that the process may have."""
        died = self.processes.pop(process)
        with suppress(ProcessLookupError):
            os.killpg(died.pid, signal.SIGKILL)
        died.wait(10)

    def terminate(self, process: str, seconds: float) -> int:
        """As ``docker stop``: asks it to end. Returns its exit status; ``TimeoutExpired`` after ``seconds``."""
        asked = self.processes[process]
        asked.terminate()
        status = asked.wait(seconds)
        del self.processes[process]
        return status

    def manage(self, *arguments: str, **variables: str) -> str:
        """What ``docker compose run web python manage.py ...`` prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.environment("web1") | variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def health(self, process: str) -> subprocess.CompletedProcess[str]:
        """Runs the compose file's health check of this process."""
        kind, *test = self.services[_service(process)]["healthcheck"]["test"]
        words = shlex.split(test[0]) if kind == "CMD-SHELL" else test
        ports = {"8000": PORTS.get(process), "8001": PORTS["inference"], "6333": PORTS["qdrant"]}
        for there, here in ports.items():
            words = [word.replace(there, str(here)) for word in words]
        environment = dict(os.environ)
        if "environment" in self.services[_service(process)] and process not in ("postgres", "qdrant"):
            environment = self.environment(process)
        environment["PGHOST"] = "127.0.0.1"
        return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=20)

    def log(self, process: str) -> str:
        return self._log(process).read_text(encoding="utf-8", errors="replace")[-6000:]

    def _log(self, process: str) -> Path:
        return self.folder / f"{process}.log"

    # -- from nothing to an installation, and back

    def set_up(self) -> None:
        """Database and role by the script of the documentation, then every process in the order of the compose file."""
        (self.folder / "data").mkdir()
        self._drop()
        self._create_role()
        with (self.folder / "qdrant.log").open("ab") as log:
            self.processes["qdrant"] = subprocess.Popen(
                [sys.executable, "-m", "tests.production.qdrant_double", str(PORTS["qdrant"]), SECRET],
                cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.start("inference")
        migrated = subprocess.run(
            [str(BIN / self.command("migrate")[0]), *self.command("migrate")[1:]],
            env=self.environment("migrate"), cwd=ROOT, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert migrated.returncode == 0, migrated.stderr
        for process in ("web1", "web2", "worker", "beat"):
            self.start(process)

    def _create_role(self) -> None:
        server = urlsplit(os.environ["TESSERA_TEST_POSTGRES_URL"])
        made = subprocess.run(
            ["bash", "docs/production/create-role.sh"],
            env=os.environ | {
                "TESSERA_DB_NAME": NAME, "TESSERA_DB_PASSWORD": SECRET, "PGDATABASE": "postgres",
                "PGHOST": server.hostname or "", "PGPORT": str(server.port or 5432), "PGPASSWORD": server.password or "",
            },
            cwd=ROOT, capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    def tear_down(self) -> None:
        for process in list(self.processes):
            self.kill(process)
        self._drop()

    def _drop(self) -> None:
        with psycopg.connect(os.environ["TESSERA_TEST_POSTGRES_URL"], autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
            server.execute(f"DROP ROLE IF EXISTS {NAME}")
        for number in (BROKER_DB, SHARED_DB):
            with redis.Redis.from_url(f"{self._redis}/{number}") as client:
                client.flushdb()

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        for process in ("web1", "web2"):
            until(lambda process=process: self._is_ready(process), seconds, lambda: self.log("inference"))  # type: ignore[misc]

    def _is_ready(self, process: str) -> bool:
        assert self.processes[process].poll() is None, self.log(process)
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{PORTS[process]}/readyz").status_code == 200
        return False


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    installation = Installation(folder)
    try:
        installation.set_up()
        yield installation
    finally:
        installation.tear_down()


def until(holds: Callable[[], Any], seconds: float, tell: Callable[[], str] = str, every: float = 0.1) -> Any:
    """The first true value of ``holds()``; fails after ``seconds`` with what ``tell`` says."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, tell()
        time.sleep(every)
    return value


def _service(process: str) -> str:
    return process.rstrip("12")
