"""Where a text is best cut: passages of several makings, by how much of the right text a question finds in them.

    python -m benchmarks.chunking ../shared/eval/spans

The folder holds ``questions.jsonl`` (questions with the character spans that answer them) and ``corpora``, read here
as Markdown. Each making cuts every text; all passages together are one collection, as in the product. Metrics are those
of Smith and Troynikov, "Evaluating Chunking Strategies for Retrieval" (2024), counted in characters: recall, precision
and intersection over union of the five best passages, and the precision of the passages that hold the answer
(precision omega). Passages of different length are compared by the recall of the first 1,000 tokens found, the last
passage cut where they end. Prints a table; keeps one JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chunked_retrieval import hybrid_index
from benchmarks.chunkers import Cut, makings, ours, splitter
from benchmarks.report import keep
from benchmarks.retrieval import read_lines

BEST = 5
BUDGET = 1000
"""Tokens of passages: about what the model is shown of them."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters ``start`` to ``end`` of the text ``corpus``."""

    corpus: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    corpus: str
    answers: tuple[Span, ...]


def union(spans: Sequence[Span]) -> list[Span]:
    """The same characters as sorted spans that do not touch."""
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def length(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def shared(found: Sequence[Span], wanted: Sequence[Span]) -> int:
    """Characters that are in both; each counts once."""
    both = [(max(a, c), min(b, d)) for a, b in union(found) for c, d in union(wanted)]
    return length([span for span in both if span[0] < span[1]])


def scores(question: Question, ranked: Sequence[Passage], everything: Sequence[Passage]) -> dict[str, float]:
    """The metrics of one question. ``ranked`` are the passages found, best first. What passages share is counted for
    each of them in what was read, so that overlap costs precision."""
    best = ranked[:BEST]
    found = [(p.start, p.end) for p in best if p.corpus == question.corpus]
    read = sum(p.end - p.start for p in best)
    wanted = length(union(question.answers))
    right = shared(found, question.answers)
    needed = [
        (p.start, p.end)
        for p in everything
        if p.corpus == question.corpus and shared([(p.start, p.end)], question.answers)
    ]
    return {
        "recall": right / wanted,
        "precision": right / read,
        "iou": right / (read + wanted - right),
        "precision_omega": shared(needed, question.answers) / length(needed),
        f"recall@{BUDGET}_tokens": shared(within(ranked, question.corpus), question.answers) / wanted,
    }


def within(ranked: Sequence[Passage], corpus: str, budget: int = BUDGET) -> list[Span]:
    """The spans in ``corpus`` of the first ``budget`` tokens; of the passage where they end, its beginning."""
    spans: list[Span] = []
    for passage in ranked:
        part = min(1.0, budget / passage.tokens)
        if passage.corpus == corpus:
            spans.append((passage.start, passage.start + int(part * (passage.end - passage.start))))
        budget -= passage.tokens
        if budget <= 0:
            break
    return spans


def measure(
    cut: Cut,
    texts: Mapping[str, str],
    questions: Sequence[Question],
    asked: Sequence[Any],
    embedder: Any,
) -> dict[str, Any]:
    """Cuts, embeds, asks every question of dense and of hybrid retrieval; means over the questions. ``asked`` are
    the questions' vectors."""
    begun = time.perf_counter()
    made = [(name, *place) for name, text in texts.items() for place in cut(name, text)]
    seconds = time.perf_counter() - begun
    passages = [
        Passage(name, start, end, max(1, len(embedder.tokenizer.encode(texts[name][start:end]).ids) - 2))
        for name, start, end, _ in made
    ]
    embedded = [text for *_, text in made]
    vectors = embedder.embed_passages(embedded).astype(np.float16).astype(np.float32)
    result: dict[str, Any] = {
        "passages": len(passages),
        "mean_tokens": round(float(np.mean([p.tokens for p in passages])), 1),
        "cutting_s": round(seconds, 3),
    }
    orders = {"dense": [list(np.argsort(-(vectors @ vector), kind="stable")) for vector in asked]}
    with hybrid_index(embedded, vectors) as find:
        orders["hybrid"] = [
            find(question.text, vector, 100) for question, vector in zip(questions, asked, strict=True)
        ]
    for way, ranking in orders.items():
        each = [
            scores(question, [passages[place] for place in order], passages)
            for question, order in zip(questions, ranking, strict=True)
        ]
        result[way] = {name: round(float(np.mean([e[name] for e in each])), 4) for name in each[0]}
    return result


def speed(texts: Mapping[str, str], embedder: Any, rounds: int = 5) -> dict[str, Any]:
    """Tokens a second of wall and of processor time, medians of rounds in turn: cutting by the library and by us, and
    embedding the passages of the first text, as they are cut by us."""
    tokens = sum(len(embedder.tokenizer.encode(t, add_special_tokens=False).ids) for t in texts.values())
    cuts = {
        "splitter 200/30": splitter(embedder.tokenizer, 200, 30),
        "ours 200": ours(embedder.tokenizer, 200),
    }
    name, text = next(iter(texts.items()))
    passages = [words for *_, words in cuts["ours 200"](name, text)]
    first = len(embedder.tokenizer.encode(text, add_special_tokens=False).ids)
    times: dict[str, list[tuple[float, float]]] = {making: [] for making in (*cuts, "embedding")}

    def timed(making: str, count: int, act: Callable[[], object]) -> None:
        wall, used = time.perf_counter(), time.process_time()
        act()
        times[making].append((count / (time.perf_counter() - wall), count / (time.process_time() - used)))

    for _ in range(rounds):
        for making, cut in cuts.items():
            timed(making, tokens, lambda cut=cut: [cut(n, t) for n, t in texts.items()])  # type: ignore[misc]
        timed("embedding", first, lambda: embedder.embed_passages(passages))
    medians = {making: np.median(values, axis=0) for making, values in times.items()}
    return {
        making: {"tokens_per_s": round(float(wall)), "tokens_per_cpu_s": round(float(used))}
        for making, (wall, used) in medians.items()
    }


def load(folder: Path) -> tuple[dict[str, str], list[Question]]:
    """Raises ``ValueError`` for a reference that does not lie where it says."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted((folder / "corpora").glob("*"))}
    questions = []
    for row in read_lines(folder / "questions.jsonl"):
        for answer in row["references"]:
            if texts[row["corpus"]][answer["start_index"] : answer["end_index"]] != answer["content"]:
                raise ValueError(f"{row['id']}: a reference lies elsewhere")
        spans = tuple((a["start_index"], a["end_index"]) for a in row["references"])
        questions.append(Question(row["question"], row["corpus"], spans))
    return texts, questions


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(next(iter(results.values()))["dense"])
    lines = [f"{'':34} {'n':>5} {'tokens':>6}  " + " ".join(f"{name:>18}" for name in names)]
    for making, result in results.items():
        for way in ("dense", "hybrid"):
            values = " ".join(f"{100 * result[way][name]:18.1f}" for name in names)
            lines.append(f"{making:27} {way:6} {result['passages']:5} {result['mean_tokens']:6.0f}  {values}")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--embedder", default="all-MiniLM-L6-v2")
    parser.add_argument("--only", help="makings whose name contains this; nothing is kept")
    parser.add_argument("--speed", action="store_true", help="how fast texts are cut, beside embedding")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()

    from config.env import env
    from inference import catalog
    from inference.embedder import SentenceTransformerEmbedder

    embedder = SentenceTransformerEmbedder(catalog.path(options.embedder, env().models_dir), options.embedder)
    texts, questions = load(options.folder)
    if options.speed:
        measured = speed(texts, embedder)
        print(json.dumps(measured, indent=1), keep("chunking_speed", measured), sep="\n")
        return
    asked = [embedder.embed_query(question.text) for question in questions]
    results: dict[str, Any] = {}
    every: Mapping[str, Callable[..., Any]] = makings(embedder)
    for name, cut in every.items():
        if options.only is None or options.only in name:
            results[name] = measure(cut, texts, questions, asked, embedder)
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    print(table(results))
    if options.only is None:
        versions = {
            name: version(name)
            for name in ("semantic-text-splitter", "tokenizers", "torch", "qdrant-edge-py")
        }
        kept = {
            "embedder": embedder.name,
            "questions": len(questions),
            "versions": versions,
            "makings": results,
        }
        print(keep("chunking", kept))


if __name__ == "__main__":
    main(sys.argv[1:])
