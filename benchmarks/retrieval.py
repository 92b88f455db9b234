"""Quality of the hybrid retrieval on a collection in BEIR's layout: nDCG@10 and recall@100.

    python -m benchmarks.retrieval ../shared/eval/retrieval/scifact

The folder holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``. Title and text are one passage,
the index is the embedded one, embeddings are rounded to float16 like rows are. Prints one JSON object,
the date and the machine in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.product import machine

COLLECTION = uuid.UUID(int=1)


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def read_judgements(file: Path) -> dict[str, dict[str, int]]:
    """``{query: {passage: relevance}}`` with the relevant ones only."""
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, score = line.split("\t")
        if int(score) > 0:
            judged[query][passage] = int(score)
    return judged


def ndcg(ranked: list[str], relevant: dict[str, int], depth: int = 10) -> float:
    gain = sum(relevant.get(p, 0) / math.log2(n + 2) for n, p in enumerate(ranked[:depth]))
    best = sum(r / math.log2(n + 2) for n, r in enumerate(sorted(relevant.values(), reverse=True)[:depth]))
    return gain / best


def measure(folder: Path, embedder: Any, asking: Any) -> dict[str, Any]:
    """Fills a fresh index by ``embedder``, asks every judged query by ``asking``, and returns the means."""
    from search.index.base import IndexFilter, Point
    from search.index.edge import EdgeIndex
    from search.index.lock import IndexLock
    from search.index.sparse import average_length

    corpus = read_lines(folder / "corpus.jsonl")
    queries = {q["_id"]: q["text"] for q in read_lines(folder / "queries.jsonl")}
    judged = read_judgements(folder / "qrels" / "test.tsv")
    texts = [f"{p.get('title', '')}\n{p['text']}".strip() for p in corpus]
    dense = embedder.embed_passages(texts).astype(np.float16).astype(np.float32)
    ids = {uuid.uuid5(uuid.NAMESPACE_OID, p["_id"]): p["_id"] for p in corpus}
    ndcgs: list[float] = []
    recalls: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        lock = IndexLock(Path(home) / "lock")
        lock.acquire()
        index = EdgeIndex(
            Path(home) / "1", lock=lock, dimension=dense.shape[1], average_length=average_length(texts)
        )
        index.upsert(
            [
                Point(i, vector, text, i, i, COLLECTION, "text/plain", None)
                for i, vector, text in zip(ids, dense, texts, strict=True)
            ]
        )
        filter = IndexFilter(collection_ids=(COLLECTION,))
        for query, relevant in judged.items():
            vector = asking.embed_query(queries[query])
            found = index.query(text=queries[query], dense=vector, filter=filter, limit=100)
            ranked = [ids[match.id] for match in found]
            ndcgs.append(ndcg(ranked, relevant))
            recalls.append(len(relevant.keys() & set(ranked)) / len(relevant))
        index.close()
        lock.release()
    return {
        "collection": folder.name,
        "embedder": embedder.name,
        "passages": len(corpus),
        "queries": len(judged),
        "ndcg@10": round(float(np.mean(ndcgs)), 4),
        "recall@100": round(float(np.mean(recalls)), 4),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--embedder", default="all-MiniLM-L6-v2")
    parser.add_argument("--format", default="auto", help="of the embedder: auto, fp32, bf16 or int8")
    parser.add_argument("--query-format", help="of the embedder of the queries, where it differs")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()

    from config.env import env
    from inference import catalog
    from inference.embedder import SentenceTransformerEmbedder

    weights = catalog.path(options.embedder, env().models_dir)
    embedder, asking = (
        SentenceTransformerEmbedder(weights, options.embedder, weight_format=each)
        for each in (options.format, options.query_format or options.format)
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    result = {"date": date, "machine": machine(), **measure(options.folder, embedder, asking)}
    result |= {"format": options.format, "query_format": options.query_format or options.format}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
