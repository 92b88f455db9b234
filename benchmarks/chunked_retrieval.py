"""Whether documents are still found when they are cut: nDCG@10 and recall@100 of whole documents by their best passage.

    python -m benchmarks.chunked_retrieval ../shared/eval/retrieval/scifact ../shared/eval/qa/squad2

Each folder holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``. Of a large collection ``--documents`` are
taken by chance, every relevant one among them, and of its queries ``--queries``; every making sees the same. Prints and
keeps one JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.chunkers import Cut, ours, splitter
from benchmarks.report import keep
from benchmarks.retrieval import COLLECTION, ndcg, read_judgements, read_lines

Vectors = npt.NDArray[np.float32]
Find = Callable[[str, Vectors, int], list[int]]


@contextmanager
def hybrid_index(texts: Sequence[str], dense: Vectors) -> Iterator[Find]:
    """A fresh embedded index of these passages: a function of a question, its vector and a number, that returns
    the places of so many passages, best first."""
    from search.index.base import IndexFilter, Point
    from search.index.edge import EdgeIndex
    from search.index.lock import IndexLock
    from search.index.sparse import average_length

    ids = {uuid.UUID(int=place + 1): place for place in range(len(texts))}
    points = [
        Point(id, dense[place], texts[place], id, id, COLLECTION, "text/plain", None)
        for id, place in ids.items()
    ]
    with tempfile.TemporaryDirectory() as home:
        lock = IndexLock(Path(home) / "lock")
        lock.acquire()
        size = average_length(texts)
        index = EdgeIndex(Path(home) / "1", lock=lock, dimension=dense.shape[1], average_length=size)
        try:
            index.upsert(points)
            filter = IndexFilter(collection_ids=(COLLECTION,))

            def find(text: str, vector: Vectors, limit: int) -> list[int]:
                found = index.query(text=text, dense=vector, filter=filter, limit=limit)
                return [ids[match.id] for match in found]

            yield find
        finally:
            index.close()
            lock.release()


def sample(
    folder: Path, documents: int, queries: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Documents and ``{query: {document: relevance}}``, the same at every call."""
    corpus = read_lines(folder / "corpus.jsonl")
    judged = read_judgements(folder / "qrels" / "test.tsv")
    chance = random.Random(1)
    asked = chance.sample(sorted(judged), min(queries, len(judged)))
    needed = {name for query in asked for name in judged[query]}
    others = sorted(row["_id"] for row in corpus if row["_id"] not in needed)
    taken = needed | set(chance.sample(others, max(0, min(documents - len(needed), len(others)))))
    return [row for row in corpus if row["_id"] in taken], {query: judged[query] for query in asked}


def measure(
    folder: Path, cuts: dict[str, Cut], embedder: Any, documents: int, queries: int
) -> dict[str, Any]:
    """Per making: passages, and the means over the queries for dense and for hybrid retrieval."""
    corpus, judged = sample(folder, documents, queries)
    words = {row["_id"]: row["text"] for row in read_lines(folder / "queries.jsonl")}
    asked = {query: embedder.embed_query(words[query]) for query in judged}
    result: dict[str, Any] = {"documents": len(corpus), "queries": len(judged)}
    for making, cut in cuts.items():
        owners, texts = [], []
        for row in corpus:
            for _, _, text in cut(row["_id"], row["text"]):
                owners.append(row["_id"])
                texts.append(f"{row.get('title', '')}\n{text}".strip())
        vectors = embedder.embed_passages(texts).astype(np.float16).astype(np.float32)
        ways: dict[str, list[tuple[float, float]]] = {"dense": [], "hybrid": []}
        with hybrid_index(texts, vectors) as find:
            for query, relevant in judged.items():
                orders = {
                    "dense": [
                        int(place) for place in np.argsort(-(vectors @ asked[query]), kind="stable")[:400]
                    ],
                    "hybrid": find(words[query], asked[query], 400),
                }
                for way, order in orders.items():
                    ranked = list(dict.fromkeys(owners[place] for place in order))[:100]
                    recall = len(relevant.keys() & set(ranked)) / len(relevant)
                    ways[way].append((ndcg(ranked, relevant), recall))
        means = {way: np.mean(values, axis=0) for way, values in ways.items()}
        result[making] = {
            "passages": len(texts),
            **{
                way: {"ndcg@10": round(float(mean[0]), 4), "recall@100": round(float(mean[1]), 4)}
                for way, mean in means.items()
            },
        }
        print(folder.name, making, json.dumps(result[making]), file=sys.stderr, flush=True)
    return result


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--embedder", default="all-MiniLM-L6-v2")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()

    from config.env import env
    from inference import catalog
    from inference.embedder import SentenceTransformerEmbedder

    weights = catalog.path(options.embedder, env().models_dir)
    embedder = SentenceTransformerEmbedder(weights, options.embedder)
    tokenizer = embedder.tokenizer
    cuts = {
        "splitter 200/30": splitter(tokenizer, 200, 30),
        "ours 128": ours(tokenizer, 128),
        "ours 200": ours(tokenizer, 200),
    }
    results = {
        folder.name: measure(folder, cuts, embedder, options.documents, options.queries)
        for folder in options.folders
    }
    print(keep("chunked_retrieval", {"embedder": embedder.name, "collections": results}))


if __name__ == "__main__":
    main(sys.argv[1:])
