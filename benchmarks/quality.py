"""How good the answers are, all suites in one table, with the naive peer beside us.

    python -m benchmarks.quality ../shared/eval [--split held] [--limit 100] [--only squad2 clapnq] [--no-peer]
        [--retrieval-only]

Runs what ``manage.py evaluate`` runs, with the models loaded once, on the state under ``TESSERA_VAR_DIR``, which the product
must not be using. The peer (:mod:`benchmarks.naive_answers`) is asked the same questions of suites with answers, once plainly
and once with "cite your sources"; beside a suite of files stands BM25 over their pages (:mod:`benchmarks.bm25_pages`). With
``--retrieval-only`` no language model is loaded. Prints the table and keeps one JSON file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.installation import installed
from benchmarks.report import keep

ORDER = ("scifact", "product-docs", "mtrag-un", "squad2", "xquad-en", "clapnq", "sec-10q", "spans")
SHOWN = (
    "questions", "ndcg@10", "recall@10", "recall@100", "mrr@10", "document_hit@5", "page_hit@5", "derived_page_hit@5", "span_recall@5",
    "exact_match", "token_f1", "refusal_precision", "refusal_recall", "refusal_f1", "false_refusal_rate",
    "balanced_accuracy", "citation_precision", "citation_document_precision", "citation_recall", "latency_p50_s",
    "latency_p95_s", "first_token_p50_s", "first_token_p95_s", "failed",
)  # fmt: skip
Table = dict[str, dict[str, float]]


def suites_below(folder: Path) -> list[Path]:
    """The folders of suites, in the order of the table."""
    from search.evaluation.suites import SuiteError, read

    found = []
    for candidate in (folder, *sorted(folder.glob("*")), *sorted(folder.glob("*/*"))):
        if not candidate.is_dir():
            continue
        try:
            read(candidate)
        except SuiteError:
            continue
        found.append(candidate)
    known = {name: place for place, name in enumerate(ORDER)}
    return sorted(found, key=lambda each: (known.get(each.name, len(ORDER)), each.name))


def printed(table: Mapping[str, Mapping[str, float]]) -> str:
    """The table as Markdown: a row for each metric, a column for each suite and way."""
    lines = [f"| | {' | '.join(table)} |", "| --- " * (len(table) + 1) + "|"]
    for name in SHOWN:
        values = [column.get(name) for column in table.values()]
        if any(value is not None for value in values):
            cells = ["" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(folder: Path, options: dict[str, Any], models: Any, *, peer: bool) -> Table:
    """Our columns of a suite and, where it has answers, the peer's."""
    from benchmarks import bm25_pages, naive_answers
    from ingestion.evaluating import IngestionPublisher
    from search.evaluation import jobs
    from search.evaluation.asking import Asking
    from search.evaluation.corpora import names_of, organization_of
    from search.evaluation.derived import with_derived_pages
    from search.evaluation.run import summarise
    from search.evaluation.suites import chosen, read
    from search.retrieval import readable_collections

    suite = chosen(read(folder), split=options["split"], limit=options["limit"])
    answers = not options["retrieval_only"] and any(q.answerable is not None for q in suite.questions)
    home = organization_of(suite.name)
    asked = {**options, "source": str(folder), "retrieval_only": not answers}
    run = jobs.begin_here(home, suite=suite.name, options=asked)
    run = jobs.work(run, models=models, publisher=IngestionPublisher(works_itself=True), say=_say)
    if run.status != "done":
        raise SystemExit(f"{suite.name}: {run.error}")
    table: Table = {suite.name: run.metrics}
    asking = Asking(home, readable_collections(home), names_of(home), models)
    if suite.kind == "files" and peer:
        pages = bm25_pages.Pages(asking)
        with_pages = with_derived_pages(suite, home, asking.names)
        table[f"{suite.name} BM25 over pages"] = summarise(
            bm25_pages.ask(question, pages) for question in with_pages.questions
        )
    if answers and peer:
        passages = naive_answers.load(asking)
        for cite in (False, True):
            name = f"{suite.name} {'citing ' if cite else ''}peer"
            _say(f"{name}: asking {len(suite.questions)} questions")
            ask = partial(naive_answers.ask, asking=asking, passages=passages, cite=cite)
            outcomes = _ask_all(suite.questions, ask, options["threads"])
            table[name] = summarise(outcomes)
    return table


def _ask_all(questions: Sequence[Any], ask: Callable[[Any], Any], threads: int) -> list[Any]:
    from django.db import connections

    def one(question: Any) -> Any:
        try:
            return ask(question)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, questions))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", help="Names of suites.")
    parser.add_argument("--split", choices=["all", "dev", "held"], default="all")
    parser.add_argument("--limit", type=int, default=0, help="Most questions of a suite.")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--model", default="")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--retrieval-only", action="store_true", help="Rank documents; write no answers.")
    options = parser.parse_args(arguments)
    asked = {
        name: getattr(options, name) for name in ("split", "limit", "threads", "model", "retrieval_only")
    }
    table: Table = {}
    with installed(asked) as models:
        for folder in suites_below(options.folder.resolve()):
            if not options.only or folder.name in options.only:
                table |= measure(folder, asked, models, peer=not options.no_peer)
                print(printed(table), flush=True)
        model = "" if options.retrieval_only else models.generator.model_name
        embedder = models.embedder.name
    name = "quality-retrieval" if options.retrieval_only else "quality"
    print(keep(name, {"model": model, "embedder": embedder, "options": asked, "suites": table}))


if __name__ == "__main__":
    main(sys.argv[1:])
