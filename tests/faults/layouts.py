"""The two layouts that faults are tried on, as processes of this machine.

``embedded``: ``manage.py serve`` with SQLite, the filesystem broker and Qdrant Edge. ``apart``: web, worker and beat by
the commands of docker-compose.yml on PostgreSQL (a role bound by row-level security) and a Redis of its own. Both embed
through :mod:`tests.faults.words_service`; ``apart`` keeps its vectors in :mod:`tests.production.qdrant_double`, in the
place of a Qdrant server. Everything lies in one folder, and nothing but the database server is shared with anybody.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import redis

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SECRET = "only-for-this-test-" * 3
PARSING, NURSERY, INDEX = b"ingestion.parse_child", b"ingestion.nursery", b"search.index.shard_child"
LEASE_S, SWEEP_S, PARSE_S = 3, 1, 10


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Layout(ABC):
    """The processes of one installation. With ``nursery`` they are forked from one that has imported everything."""

    name: str
    processes: dict[str, list[str]]
    """The arguments of each process that is killed and started again."""
    reader: str
    """The process that works on jobs."""

    def __init__(self, folder: Path, *, nursery: bool) -> None:
        self.folder = folder
        self.port, self._inference = free_port(), free_port()
        self.pids: dict[str, int] = {}
        self._helpers: list[subprocess.Popen[str]] = []
        self._nursery: subprocess.Popen[str] | None = None
        self._forks = nursery
        for name in ("data", "tmp"):
            (folder / name).mkdir(parents=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TESSERA_", "DJANGO_"))},
            **{k: v for k, v in os.environ.items() if k == "TESSERA_MODELS_DIR"},
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "TESSERA_VAR_DIR": str(folder / "data"),
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_INFERENCE_URL": f"http://127.0.0.1:{self._inference}",
            "TESSERA_INFERENCE_API_KEY": SECRET,
            "TESSERA_LEASE_SECONDS": str(LEASE_S),
            "TESSERA_SWEEP_SECONDS": str(SWEEP_S),
            "TESSERA_PARSE_WALL_SECONDS": str(PARSE_S),
            "TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.key = ""

    # -- what differs

    @abstractmethod
    def _set_up(self) -> None:
        """Servers and the variables that lead to them."""

    @abstractmethod
    def _tear_down(self) -> None: ...

    @abstractmethod
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read past the product, of every organisation."""

    # -- from nothing to an installation, and back

    def set_up(self) -> None:
        """The servers, an empty database with the organisation acme, a key of it, and every process."""
        inference = self.helper("-m", "tests.faults.words_service", str(self._inference), SECRET)
        self._set_up()
        self.key = self.inside("prepare").strip().splitlines()[-1]
        if self._forks:
            self._nursery = self.helper("-m", "tests.faults.nursery", speaks=True)
            assert self._nursery.stdout is not None
            assert self._nursery.stdout.readline().strip() == "ready", self.log("helpers")
        assert inference.poll() is None, self.log("helpers")
        self.start(*self.processes)

    def tear_down(self) -> None:
        self.kill(*self.pids)
        for process in reversed(self._helpers):
            process.kill()
            process.wait()
        self._tear_down()

    def helper(self, *arguments: str, speaks: bool = False) -> subprocess.Popen[str]:
        """A process that lives as long as the layout and is never killed before."""
        with self._log("helpers").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.PIPE if speaks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._helpers.append(process)
        return process

    def inside(self, *arguments: str) -> str:
        """What ``python -m tests.faults.inside ...`` prints, in the environment of the processes."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.inside", *arguments],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    # -- processes

    def start(self, *names: str, moment: str = "") -> None:
        """Starts processes; ``moment`` is where the process kills itself (needs the nursery)."""
        for name in names:
            self.pids[name] = self._fork(name, moment) if self._nursery else self._spawn(name)

    def kill(self, *names: str) -> None:
        """As ``kill -9`` of these processes alone, all of them before any is waited for."""
        pids = [self.pids.pop(name) for name in names if name in self.pids]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            self.wait_for_end(pid)

    def stop(self, *names: str, seconds: float = 60.0) -> None:
        """Asks processes to end, and waits until they have."""
        pids = [self.pids.pop(name) for name in names]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in pids:
            self.wait_for_end(pid, seconds)

    def wait_for_end(self, pid: int, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while is_alive(pid):
            assert time.monotonic() < deadline, f"process {pid} does not end"
            time.sleep(0.01)

    def readers_children(self, module: bytes = PARSING) -> list[int]:
        """The children of the worker that run ``module``; of those that parse, also the forks of its nursery."""
        children = children_of(self.pids[self.reader])
        nurseries = [pid for pid in children if runs(pid, NURSERY)] if module == PARSING else []
        forks = [fork for nursery in nurseries for fork in children_of(nursery)]
        return [pid for pid in children if runs(pid, module)] + forks

    def living_children(self) -> list[int]:
        """Every child that any process of this layout ever started for parsing or for the index, and that lives."""
        modules = (PARSING, NURSERY, INDEX)
        return [pid for pid in psutil.pids() if any(runs(pid, m) for m in modules) and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        with suppress(psutil.Error):
            return psutil.Process(pid).environ().get("TMPDIR", "").startswith(str(self.folder))
        return False

    def _spawn(self, name: str) -> int:
        arguments = self.processes[name]
        commands = {
            "serve": [sys.executable, "manage.py", "serve"],
            "web": [str(BIN / "uvicorn")],
            "worker": [str(BIN / "celery"), "-A", "config.celery", "worker"],
            "beat": [str(BIN / "celery"), "-A", "config.celery", "beat"],
        }
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [*commands[name], *arguments],
                env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return process.pid

    def _fork(self, name: str, moment: str) -> int:
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        asked = {
            "process": name,
            "arguments": self.processes[name],
            "log": str(self._log(name)),
            "moment": moment,
        }
        print(json.dumps(asked), file=self._nursery.stdin, flush=True)
        return int(self._nursery.stdout.readline())

    def log(self, name: str) -> str:
        path = self._log(name)
        return path.read_text(encoding="utf-8", errors="replace")[-6000:] if path.exists() else ""

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", headers=headers, timeout=20)


class Embedded(Layout):
    name = "SQLite, filesystem broker, Qdrant Edge, one process"
    reader = "serve"

    def _set_up(self) -> None:
        self.processes = {"serve": ["--port", str(self.port)]}

    def _tear_down(self) -> None:
        pass

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        database = f"file:{self.folder}/data/tessera.sqlite3?mode=ro"
        with closing(sqlite3.connect(database, uri=True, timeout=20)) as connection:
            return list(connection.execute(sql))


class Apart(Layout):
    name = "PostgreSQL, Redis, web, worker and beat apart"
    reader = "worker"

    def __init__(self, folder: Path, *, nursery: bool) -> None:
        super().__init__(folder, nursery=nursery)
        self._server = os.environ["TESSERA_TEST_POSTGRES_URL"]
        self._database = f"tessera_faults_{os.getpid()}"
        self._redis_port = free_port()
        self._redis: subprocess.Popen[bytes] | None = None

    def _set_up(self) -> None:
        server = urlsplit(self._server)
        address = f"{server.hostname}:{server.port or 5432}"
        qdrant = free_port()
        self.environment |= {
            "TESSERA_MODE": "production",
            "TESSERA_ALLOWED_HOSTS": "127.0.0.1",
            "TESSERA_DATABASE_URL": f"postgresql://{self._database}:{SECRET}@{address}/{self._database}",
            "TESSERA_BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "TESSERA_REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/1",
            "TESSERA_QDRANT_URL": f"http://127.0.0.1:{qdrant}",
            "TESSERA_QDRANT_API_KEY": SECRET,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        listen = ["--host", "127.0.0.1", "--port", str(self.port)]
        self.processes = {
            "web": ["config.asgi:application", *listen, "--no-access-log"],
            "worker": ["--pool", "solo", "--loglevel", "INFO"],
            "beat": ["--schedule", str(self.folder / "beat"), "--pidfile", "", "--loglevel", "WARNING"],
        }
        self.start_redis()
        self.helper("-m", "tests.production.qdrant_double", str(qdrant), SECRET)
        self._tear_down_database()
        made = subprocess.run(
            ["bash", "docs/production/create-role.sh"],
            env=os.environ | {
                "TESSERA_DB_NAME": self._database, "TESSERA_DB_PASSWORD": SECRET, "PGDATABASE": "postgres",
                "PGHOST": server.hostname or "", "PGPORT": str(server.port or 5432), "PGPASSWORD": server.password or "",
            },
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    def _tear_down(self) -> None:
        self.stop_redis()
        self._tear_down_database()

    def _tear_down_database(self) -> None:
        with psycopg.connect(self._server, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")
            server.execute(f"DROP ROLE IF EXISTS {self._database}")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        address = urlsplit(self._server)._replace(path=f"/{self._database}").geturl()
        with psycopg.connect(address) as connection:
            return connection.execute(sql).fetchall()

    # -- what is between the processes

    def cut_postgres(self) -> int:
        """Ends every connection of the processes; returns how many there were."""
        with psycopg.connect(self._server, autocommit=True) as server:
            ended = server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s",
                (self._database, self._database),
            ).fetchall()
        return len(ended)

    def cut_redis(self) -> int:
        """Ends every connection of the processes; returns how many there were."""
        with redis.Redis(port=self._redis_port) as client:
            return int(client.execute_command("CLIENT", "KILL", "SKIPME", "yes"))

    def start_redis(self) -> None:
        """A server of its own that keeps nothing: its end loses every message."""
        program = shutil.which("redis-server")
        assert program, "redis-server is needed, to be stopped and started"
        with self._log("redis").open("ab") as log:
            self._redis = subprocess.Popen(
                [program, "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        with redis.Redis(port=self._redis_port) as client:
            deadline = time.monotonic() + 20
            while True:
                with suppress(redis.ConnectionError):
                    client.ping()
                    return
                assert time.monotonic() < deadline, self.log("redis")
                time.sleep(0.02)

    def stop_redis(self) -> None:
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def children_of(pid: int) -> list[int]:
    """psutil would look at every process of the machine."""
    found: list[int] = []
    for threads in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, threads.read_text().split())
    return found


def runs(pid: int, module: bytes) -> bool:
    """Whether the process was started as ``python -m module``."""
    with suppress(OSError):
        return module in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


@contextmanager
def running(layout: Layout) -> Iterator[Layout]:
    try:
        layout.set_up()
        yield layout
    finally:
        layout.tear_down()
