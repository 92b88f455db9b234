"""How fast files become searchable: the product's own worker beside the bare embedder and a naive loop.

    python -m benchmarks.ingestion ../shared/eval [--rounds 3] [--set long short pdf]
    python -m benchmarks.ingestion ../shared/eval --question

Each round takes the files of a set through three ways, in turn: `ours`, upload to published by the worker of the embedded
mode (SQLite, Qdrant Edge); `embedder`, the same passages through the bare embedder; `naive`, one process with pypdf,
windows of 800 characters, sentence-transformers and qdrant-client's local mode. `--question` starts the product and asks,
in turn, while nothing else runs and while long files are ingested. Prints one JSON object and keeps it in `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx

from benchmarks.report import keep, quantile

Files = list[tuple[str, bytes]]
WINDOW, OVERLAP = 800, 120
SHORT_FILES, LONG_COPIES = 200, 5
WARM_UP_PART = 4


def files_of(name: str, folder: Path, round_: int) -> Files:
    """The files of a set. Each round's differ in their first line, since known content is not stored again."""
    stamp = f"Round {round_}.\n\n".encode()
    if name == "long":
        return [
            (f"{text.stem}-{copy}.txt", stamp + b"Copy %d.\n\n" % copy + text.read_bytes())
            for copy in range(LONG_COPIES)
            for text in sorted((folder / "spans/corpora").iterdir())
        ]
    if name == "short":
        lines = (folder / "retrieval/scifact/corpus.jsonl").read_text(encoding="utf-8").splitlines()
        passages = [json.loads(line) for line in lines[:SHORT_FILES]]
        return [(f"{p['_id']}.txt", stamp + p["text"].encode()) for p in passages]
    pdfs = sorted((folder / "pdfqa/sec-10q/pdfs").glob("*.pdf"))
    return [(pdf.name, pdf.read_bytes() + b"\n%" + stamp) for pdf in pdfs]


class Recording:
    """An embedder that keeps what it was asked for, and when that was first."""

    def __init__(self, embedder: Any) -> None:
        self.embedder, self.texts = embedder, list[str]()
        self.first_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.embedder, name)

    def embed_passages(self, texts: Any, **options: Any) -> Any:
        self.first_at = self.first_at or time.perf_counter()
        self.texts += texts
        return self.embedder.embed_passages(texts, **options)


def ours(files: Files, organization: Any, embedder: Recording) -> tuple[float, float, list[str], int]:
    """Seconds from the first claim to the last document's publication, and to the first text that is embedded; the texts
    embedded, pages."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    from ingestion import pipeline
    from ingestion.uploads import accept_upload
    from search.models import DocumentVersion
    from tenants.scope import tenant_scope

    embedder.texts, embedder.first_at = [], 0.0
    documents = [
        accept_upload(
            organization=organization, user=None, name=name, stream=SimpleUploadedFile("f", content)
        ).id
        for name, content in files
    ]
    started = time.perf_counter()
    pipeline.work_until_idle()
    seconds = time.perf_counter() - started
    with tenant_scope(organization):
        versions = DocumentVersion.objects.filter(published_for__in=documents)
        pages = list(versions.values_list("page_count", flat=True))
    if len(pages) != len(files):
        raise RuntimeError(f"{len(files) - len(pages)} files did not become ready")
    return seconds, embedder.first_at - started, embedder.texts, sum(pages)


def naive(files: Files, model: Any) -> tuple[float, int]:
    """Seconds and passages of the loop that a tutorial shows."""
    from pypdf import PdfReader
    from qdrant_client import QdrantClient, models

    with tempfile.TemporaryDirectory() as folder:
        client = QdrantClient(path=folder)
        vectors = models.VectorParams(size=384, distance=models.Distance.COSINE)
        client.create_collection("documents", vectors_config=vectors)
        started, passages = time.perf_counter(), 0
        for name, content in files:
            pages = (
                [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]
                if name.endswith(".pdf")
                else [content.decode()]
            )
            texts = [
                page[at : at + WINDOW]
                for page in pages
                for at in range(0, len(page), WINDOW - OVERLAP)
                if page[at:].strip()
            ]
            found = model.encode(texts, batch_size=32, show_progress_bar=False)
            client.upsert(
                "documents",
                [
                    models.PointStruct(
                        id=str(uuid.uuid4()), vector=v.tolist(), payload={"text": t, "file": name}
                    )
                    for t, v in zip(texts, found, strict=True)
                ],
            )
            passages += len(texts)
        seconds = time.perf_counter() - started
        client.close()
    return seconds, passages


def compare(name: str, folder: Path, rounds: int, embedder: Recording, model: Any) -> dict[str, Any]:
    """The three ways in turn; rates are medians, ratios medians of each round's ratio."""
    from tenants.models import Organization

    organization = Organization.objects.create(slug=name, name=name)
    runs = []
    for round_ in range(rounds + 1):
        files = files_of(name, folder, round_)
        if not round_:  # caches are warmed up by a part
            files = files[: max(1, len(files) // WARM_UP_PART)]
        seconds, first, texts, pages = ours(files, organization, embedder)
        started = time.perf_counter()
        embedder.embedder.embed_passages(texts)
        bare = time.perf_counter() - started
        naive_seconds, naive_passages = naive(files, model) if round_ else (1.0, 0)
        if round_:
            characters = sum(map(len, texts)) / len(texts)
            runs.append(
                {
                    "files": len(files), "pages": pages, "passages": len(texts), "characters_a_passage": round(characters),
                    "ours_s": round(seconds, 3), "first_read_s": round(first, 3), "embedder_s": round(bare, 3), "naive_s": round(naive_seconds, 3),
                    "naive_passages": naive_passages,
                    "part_of_the_embedders_rate": round(bare / seconds, 3), "naive_takes_times": round(naive_seconds / seconds, 2),
                }
            )  # fmt: skip

    def median(key: Callable[[dict[str, Any]], float]) -> float:
        return round(statistics.median(key(run) for run in runs), 3)

    return {
        "set": name,
        "passages_a_second": median(lambda r: r["passages"] / r["ours_s"]),
        "pages_a_second": median(lambda r: r["pages"] / r["ours_s"]),
        "files_a_second": median(lambda r: r["files"] / r["ours_s"]),
        "embedder_passages_a_second": median(lambda r: r["passages"] / r["embedder_s"]),
        "part_of_the_embedders_rate": median(lambda r: r["part_of_the_embedders_rate"]),
        "naive_takes_times": median(lambda r: r["naive_takes_times"]),
        "runs": runs,
    }


@contextmanager
def installation() -> Iterator[None]:
    """An empty installation of the embedded mode in this process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TESSERA_VAR_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        from search.index import close_all

        yield
        close_all()


def measure_rates(folder: Path, sets: list[str], rounds: int) -> dict[str, Any]:
    with installation():
        from sentence_transformers import SentenceTransformer

        from config.env import env
        from inference import catalog, runtime
        from inference.embedder import SentenceTransformerEmbedder

        weights = catalog.path("all-MiniLM-L6-v2", env().models_dir)
        embedder = Recording(SentenceTransformerEmbedder(weights, "all-MiniLM-L6-v2"))
        runtime.install(runtime.Runtime.of(embedder=cast(Any, embedder)))
        model = SentenceTransformer(str(weights), device="cpu", local_files_only=True)
        return {"rounds": rounds, "sets": [compare(name, folder, rounds, embedder, model) for name in sets]}


def measure_questions(folder: Path, model: str, rounds: int) -> dict[str, Any]:
    """Seconds to the first token of a question, alone and during ingestion, five and five in turn."""
    from benchmarks.first_token import QUESTIONS, ask, wait_until_ingested
    from benchmarks.product import product

    times: dict[str, list[float]] = {"alone": [], "ingesting": []}
    with tempfile.TemporaryDirectory() as var, product(Path(var), TESSERA_MODEL=model) as running:
        headers = {"Authorization": f"Bearer {running.key('acme')}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=300) as client:
            wait_until_ingested(client)
            for question in QUESTIONS:
                ask(client, question)
            for round_ in range(rounds):
                for way in times:
                    ended = _ingest(client, folder, round_) if way == "ingesting" else None
                    for question in QUESTIONS:
                        answer = ask(client, f"{question} ({way} {round_})")
                        if answer["first_token_s"] is not None and not (ended and ended.is_set()):
                            times[way].append(answer["first_token_s"])
                    if ended is not None:
                        ended.wait(300)
    found: dict[str, Any] = {"model": model, "rounds": rounds, "first_token_s": times}
    for part, name in ((0.5, "median"), (0.95, "p95")):
        found[name] = {way: quantile(values, part) for way, values in times.items()}
        found[f"{name}_ratio"] = round(found[name]["ingesting"] / found[name]["alone"], 2)
    return found


def _ingest(client: httpx.Client, folder: Path, round_: int) -> threading.Event:
    """Uploads long files, returns when the first is embedded; the event is set when all are ready."""
    text = b"\n\n".join(content for _, content in files_of("long", folder, round_)[:2])
    for copy in range(6):
        name, content = f"long-{round_}-{copy}.txt", b"Copy %d.%d\n\n" % (round_, copy) + text
        client.post("/api/v1/documents", files={"file": (name, content)}).raise_for_status()
    ended = threading.Event()

    def states() -> list[str]:
        found = client.get("/api/v1/documents?page_size=100").json()["results"]
        return [document["status"] for document in found]

    def watch() -> None:
        while any(state in ("queued", "processing") for state in states()):
            time.sleep(0.5)
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    time.sleep(1.5)
    return ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--set", nargs="+", default=["long", "short", "pdf"], choices=["long", "short", "pdf"]
    )
    parser.add_argument("--question", action="store_true")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    options = parser.parse_args()
    if options.question:
        result, name = measure_questions(options.folder, options.model, options.rounds), "ingestion-question"
    else:
        result, name = measure_rates(options.folder, options.set, options.rounds), "ingestion"
    print(json.dumps(result, indent=1))
    keep(name, result)


if __name__ == "__main__":
    main()
