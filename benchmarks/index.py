"""The embedded index at size: 100,000 passages in one organisation, 1,000 organisations of 100, and a peer.

    python -m benchmarks.index [--part one] [--part many] [--part stalls] [--part peer] [--points N] ...

``one``: ingest from rows that have their vectors (nothing is embedded), questions by how much of the organisation the
asker may read, before and after the graph, recall, memory, reopening, questions while passages are written.
``many``: organisations beyond the number that may be open: memory, threads and files, questions to open and closed ones.
``stalls``: the longest time that another thread of the process stood still, with the index in this process and in a
process of its own.
``peer``: qdrant-client's local mode through the same code, at a size that it can bear.

Vectors are synthetic: unit vectors around 500 centres, rounded to float16 as rows are. Words are real where SciFact
lies at ``../shared/eval``, in windows of 130 words, and drawn by Zipf's law elsewhere. One JSON file a part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.product import ROOT
from benchmarks.report import keep, quantile
from search.index.base import IndexFilter, Point, VectorIndex
from search.index.embedded import EmbeddedIndex
from search.index.lock import IndexLock
from search.index.shard_process import ShardProcess
from search.index.shards import ShardKeeper, Shards

DIMENSION = 384
CENTRES = 500
COLLECTIONS = [uuid.UUID(int=n) for n in range(1, 11)]
WORDS = 130
MEAN_LENGTH = 90.0
BATCH = 256
READABLE = {"1 of 10 collections": COLLECTIONS[:1], "5 of 10": COLLECTIONS[:5], "all": COLLECTIONS}
LIMIT = 100
"""What a search asks for at least: search.retrieval.DEPTH."""


class Corpus:
    """Passages by number: the same number is the same passage."""

    def __init__(self, count: int, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        centres = chance.normal(size=(CENTRES, DIMENSION))
        vectors = centres[chance.integers(0, CENTRES, count)] + chance.normal(size=(count, DIMENSION))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors: NDArray[np.float32] = vectors.astype(np.float16).astype(np.float32)
        self.texts, self.words = texts()

    def points(self, start: int, stop: int) -> list[Point]:
        return [self._point(number) for number in range(start, stop)]

    def question(self, number: int) -> dict[str, Any]:
        """Near a passage, in eight words of another."""
        chance = np.random.default_rng(number)
        near = self.vectors[int(chance.integers(len(self.vectors)))]
        dense = near + 0.7 * chance.normal(size=DIMENSION) / np.sqrt(DIMENSION)
        words = self.texts[int(chance.integers(len(self.texts)))].split()
        start = int(chance.integers(max(1, len(words) - 8)))
        unit = (dense / np.linalg.norm(dense)).astype(np.float32)
        return {"text": " ".join(words[start : start + 8]), "dense": unit}

    def _point(self, number: int) -> Point:
        document = uuid.UUID(int=10**6 + number // 50)
        return Point(
            id=uuid.UUID(int=number + 1),
            dense=self.vectors[number],
            text=self.texts[number * 7919 % len(self.texts)],
            document_id=document,
            version_id=document,
            collection_id=COLLECTIONS[number % len(COLLECTIONS)],
            media_type="application/pdf",
            dated=number % 10_000,
        )


def texts() -> tuple[list[str], str]:
    """Passages of :data:`WORDS` words, and where they are from."""
    file = ROOT.parent / "shared" / "eval" / "retrieval" / "scifact" / "corpus.jsonl"
    if file.is_file():
        words = " ".join(json.loads(line)["text"] for line in file.read_text("utf-8").splitlines()).split()
        source = "SciFact"
    else:
        ranks = np.random.default_rng(1).zipf(1.2, size=WORDS * 2000)
        words, source = [f"w{rank}" for rank in ranks], "Zipf"
    return [" ".join(words[at : at + WORDS]) for at in range(0, len(words) - WORDS, WORDS)], source


class Ticker:
    """A thread that wants to run every millisecond, and the longest time that it could not."""

    def __init__(self) -> None:
        self._gaps: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._ended.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            self._gaps.append(now - last - 0.001)
            last = now

    def longest_ms(self) -> float:
        """The longest stall since the last call, in milliseconds."""
        time.sleep(0.005)
        gaps, self._gaps = self._gaps, []
        return round(max(gaps, default=0.0) * 1e3, 1)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def timed(act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def fill(index: VectorIndex, corpus: Corpus, count: int) -> float:
    """Writes the passages like an ingestion does; returns passages a second."""
    begun = time.perf_counter()
    for start in range(0, count, BATCH):
        index.upsert(corpus.points(start, min(start + BATCH, count)))
        if start // BATCH % 8 == 7:
            index.flush()  # as after each document
    index.flush()
    return round(count / (time.perf_counter() - begun))


def ask(index: VectorIndex, corpus: Corpus, readable: Sequence[uuid.UUID], count: int) -> dict[str, float]:
    """p50 and p95 of questions, in milliseconds."""
    allowed = of(readable)
    for number in range(5):
        index.query(**corpus.question(10**6 + number), filter=allowed, limit=LIMIT)
    taken = [
        timed(lambda n=number: index.query(**corpus.question(n), filter=allowed, limit=LIMIT)) * 1e3  # type: ignore[misc]
        for number in range(count)
    ]
    return {"p50_ms": round(quantile(taken, 0.5), 1), "p95_ms": round(quantile(taken, 0.95), 1)}


def of(readable: Sequence[uuid.UUID]) -> IndexFilter:
    """What :mod:`search.retrieval` asks for somebody who may read these collections."""
    others = tuple(each for each in COLLECTIONS if each not in readable)
    return IndexFilter(collection_ids=tuple(readable), other_collection_ids=others)


def best(index: VectorIndex, corpus: Corpus, count: int) -> list[dict[uuid.UUID, float]]:
    """The first hundred of each question with their scores."""
    return [
        {
            match.id: match.score
            for match in index.query(**corpus.question(n), filter=of(COLLECTIONS), limit=LIMIT)
        }
        for n in range(count)
    ]


def kept_of_ten(exact: Sequence[dict[uuid.UUID, float]], found: Sequence[dict[uuid.UUID, float]]) -> float:
    """The share of the first ten found that are as good as the exact first ten: texts repeat, and so do scores, so
    that many passages share a rank."""
    good = 0
    for truth, hits in zip(exact, found, strict=True):
        worst = sorted(truth.values(), reverse=True)[:10][-1]
        good += sum(truth.get(key, -1.0) >= worst - 1e-4 for key in list(hits)[:10])
    return round(good / sum(min(10, len(truth)) for truth in exact), 4)


@contextmanager
def keeper(home: Path, kind: type[Shards] | type[ShardProcess], most_open: int = 64) -> Iterator[ShardKeeper]:
    lock = IndexLock(home / "lock")
    lock.acquire()
    shards = kind(home, lock=lock, dimension=DIMENSION, most_open=most_open)
    try:
        yield shards
    finally:
        shards.close()
        lock.release()


def child_figures(shards: ShardKeeper) -> dict[str, int]:
    assert isinstance(shards, ShardProcess)
    child = psutil.Process(shards.pid)
    return {
        "resident_mb": round(child.memory_info().rss / 1e6),
        "private_mb": round(child.memory_full_info().uss / 1e6),
        "threads": child.num_threads(),
        "open_files": child.num_fds(),
    }


def disk_mb(folder: Path) -> int:
    return round(sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file()) / 1e6)


def one(home: Path, count: int, questions: int, *, graph: bool = True) -> dict[str, Any]:
    """One organisation of ``count`` passages; building its graph takes most of the time."""
    corpus = Corpus(count)
    result: dict[str, Any] = {"passages": count, "words": corpus.words}
    with keeper(home, ShardProcess) as shards:
        index = EmbeddedIndex(shards, 1, dimension=DIMENSION)
        result["ingest_per_s"] = fill(index, corpus, count)
        result["plain"] = {name: ask(index, corpus, who, questions) for name, who in READABLE.items()}
        exact = best(index, corpus, questions)
        result["memory_plain"] = child_figures(shards)
        result["parts"] = parts(index, corpus, questions)
        result["while_writing"] = _ask_while_writing(index, corpus, questions)
    if graph:
        result |= _with_graph(home, corpus, count, questions, exact)
    with keeper(home, ShardProcess) as shards:
        index = EmbeddedIndex(shards, 1, dimension=DIMENSION)
        shards.call(2, "ensure")  # the process itself has started
        result["reopen_s"] = round(timed(index.count), 2)
        result["disk_mb"] = disk_mb(home / "1")
    return result


def parts(index: EmbeddedIndex, corpus: Corpus, questions: int) -> dict[str, dict[str, float]]:
    """What a question costs beside its search: the way to the child and back, and the same with an answer of a
    hundred ids."""

    def alone(allowed: IndexFilter, number: int) -> float:
        dense = corpus.question(number)["dense"]
        return timed(lambda: index.query(text="", dense=dense, filter=allowed, limit=LIMIT)) * 1e3

    acts = {
        "round trip": IndexFilter(()),  # which finds nothing, without a search
        "vectors alone, all": of(COLLECTIONS),
        "vectors alone, 5 of 10": of(COLLECTIONS[:5]),
    }
    found = {name: [alone(allowed, n) for n in range(questions)] for name, allowed in acts.items()}
    return {
        name: {"p50_ms": round(quantile(taken, 0.5), 2), "p95_ms": round(quantile(taken, 0.95), 2)}
        for name, taken in found.items()
    }


def _with_graph(
    home: Path, corpus: Corpus, count: int, questions: int, exact: Sequence[dict[uuid.UUID, float]]
) -> dict[str, Any]:
    result: dict[str, Any] = {"graph_s": round(_build_graph(home, corpus, count), 1)}
    with keeper(home, ShardProcess) as shards:
        index = EmbeddedIndex(shards, 1, dimension=DIMENSION)
        shards.adopt(1, home / "building" / "1")
        result["graph"] = {name: ask(index, corpus, who, questions) for name, who in READABLE.items()}
        found = best(index, corpus, questions)
        result["as_good_among_first_ten"] = kept_of_ten(exact, found)
        result["memory_graph"] = child_figures(shards)
    return result


def _build_graph(home: Path, corpus: Corpus, count: int) -> float:
    """Builds it as a reindex does, in a process of its own; returns seconds."""
    builder = ShardProcess(home / "building", lock=None, dimension=DIMENSION, most_open=1)
    builder.create(1, MEAN_LENGTH)
    index = EmbeddedIndex(builder, 1, dimension=DIMENSION)
    fill(index, corpus, count)
    seconds = timed(index.optimize)
    index.close()
    builder.close()
    return seconds


def _ask_while_writing(index: VectorIndex, corpus: Corpus, questions: int) -> dict[str, float]:
    ended = threading.Event()

    def write() -> None:
        last = min(5000, len(corpus.vectors)) - BATCH
        for start in itertools.cycle(range(0, last, BATCH)):
            if ended.is_set():
                return
            index.upsert(corpus.points(start, start + BATCH))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return ask(index, corpus, COLLECTIONS, questions)
    finally:
        ended.set()
        thread.join()


def many(home: Path, organizations: int, passages: int, most_open: int) -> dict[str, Any]:
    """Many organisations of ``passages`` each, of which ``most_open`` may be open."""
    corpus = Corpus(10_000)
    result: dict[str, Any] = {
        "organizations": organizations,
        "passages_each": passages,
        "most_open": most_open,
        "words": corpus.words,
    }
    allowed = of(COLLECTIONS)
    with keeper(home, ShardProcess, most_open) as shards:
        handles = [EmbeddedIndex(shards, key, dimension=DIMENSION) for key in range(1, organizations + 1)]
        handles[0].ensure()
        result["memory_empty"] = child_figures(shards)
        begun = time.perf_counter()
        for number, index in enumerate(handles):
            start = number * passages % (10_000 - passages)
            index.upsert(corpus.points(start, start + passages))
            index.flush()
        result["ingest_per_s"] = round(organizations * passages / (time.perf_counter() - begun))
        result["memory"] = child_figures(shards)
        asked = handles[: min(200, organizations)]
        for name, chosen in (("closed", asked), ("open", asked[-(most_open // 2) :])):
            taken = [
                timed(lambda i=i, n=n: i.query(**corpus.question(n), filter=allowed, limit=LIMIT)) * 1e3  # type: ignore[misc]
                for n, i in enumerate(chosen)
            ]
            result[name] = {
                "p50_ms": round(quantile(taken, 0.5), 1),
                "p95_ms": round(quantile(taken, 0.95), 1),
            }
        result["memory_after_questions"] = child_figures(shards)
    with keeper(home, ShardProcess, most_open) as shards:
        result["reopen_s"] = round(timed(lambda: EmbeddedIndex(shards, 7, dimension=DIMENSION).count()), 2)
    result["disk_mb"] = disk_mb(home)
    return result


HOLDERS: dict[str, type[Shards] | type[ShardProcess]] = {
    "in this process": Shards,
    "in its own": ShardProcess,
}


def stalls(home: Path, count: int, holders: Sequence[str] = tuple(HOLDERS)) -> dict[str, Any]:
    """The longest stall of another thread, act by act, with the index here and in a process of its own."""
    corpus = Corpus(count)
    allowed = of(COLLECTIONS)
    result: dict[str, Any] = {"passages": count}
    ticker = Ticker()
    time.sleep(1)
    result["nothing_done_ms"] = ticker.longest_ms()
    for name in holders:
        kind = HOLDERS[name]
        place, acts = home / name.replace(" ", "-"), {}
        with keeper(place, kind) as shards:
            index = EmbeddedIndex(shards, 1, dimension=DIMENSION)
            index.ensure()
            points = corpus.points(0, count)
            ticker.longest_ms()
            for start in range(0, count, BATCH):
                index.upsert(points[start : start + BATCH])
            acts["upsert_ms"] = ticker.longest_ms()
            for number in range(30):
                index.query(**corpus.question(number), filter=allowed, limit=LIMIT)
            acts["query_ms"] = ticker.longest_ms()
            index.flush()
            acts["flush_ms"] = ticker.longest_ms()
            index.ids()
            acts["ids_ms"] = ticker.longest_ms()
            shards.close_one(1)
            acts["close_ms"] = ticker.longest_ms()
            index.count()
            acts["load_ms"] = ticker.longest_ms()
            index.optimize()
            acts["optimize_ms"] = ticker.longest_ms()
        result[name] = acts
    ticker.end()
    return result


def peer(home: Path, count: int, questions: int) -> dict[str, Any]:
    """Qdrant Edge beside qdrant-client's local mode, both through the product's code."""
    from qdrant_client import QdrantClient

    from search.index.server import ServerIndex

    warnings.filterwarnings("ignore")  # local mode says that it is made for small sizes
    corpus = Corpus(count)
    result: dict[str, Any] = {"passages": count, "words": corpus.words}
    with keeper(home / "edge", ShardProcess) as shards:
        result["edge"] = _measure(EmbeddedIndex(shards, 1, dimension=DIMENSION), corpus, count, questions)
    client = QdrantClient(path=str(home / "local"))
    local = ServerIndex(client, "1", dimension=DIMENSION)
    local.ensure()
    result["local"] = _measure(local, corpus, count, questions)
    client.close()
    result["ratios"] = {
        "ingest": round(result["edge"]["ingest_per_s"] / result["local"]["ingest_per_s"], 1),
        **{
            f"query, {name}": round(result["local"][name]["p50_ms"] / result["edge"][name]["p50_ms"], 1)
            for name in READABLE
        },
    }
    return result


def _measure(index: VectorIndex, corpus: Corpus, count: int, questions: int) -> dict[str, Any]:
    rate = fill(index, corpus, count)
    return {"ingest_per_s": rate, **{n: ask(index, corpus, who, questions) for n, who in READABLE.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=["one", "many", "stalls", "peer"])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--most-open", type=int, default=64)
    parser.add_argument("--peer-points", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--holder", action="append", choices=list(HOLDERS), help="stalls: one of the two")
    parser.add_argument("--no-graph", action="store_true", help="one: leave the graph out")
    options = parser.parse_args()
    acts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "one": lambda home: one(home, options.points, options.questions, graph=not options.no_graph),
        "many": lambda home: many(home, options.organizations, 100, options.most_open),
        "stalls": lambda home: stalls(home, options.points, options.holder or tuple(HOLDERS)),
        "peer": lambda home: peer(home, options.peer_points, min(options.questions, 20)),
    }
    for part in options.part or list(acts):
        home = Path(tempfile.mkdtemp(prefix="tessera-index-"))
        try:
            result = acts[part](home)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        versions = {name: version(name) for name in ("qdrant-edge-py", "qdrant-client", "numpy")}
        path = keep(f"index-{part}", {"versions": versions, **result})
        print(json.dumps(result, indent=1), f"\n{path}")


if __name__ == "__main__":
    main()
