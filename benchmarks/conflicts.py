"""How often two sources are said to disagree where they do not, and how often where they do. Without the language model.

    python -m benchmarks.conflicts ../shared/eval [--only squad2 clapnq] [--limit 400] [--show]

False alarms: each question of a suite is searched as the product does, and of each passage found the sentence that says most of
the question is taken for cited; the suites are taken not to contradict themselves, so every conflict is one. Hits: where a
known answer is a number, the sentence with it and the same sentence with another number are two documents. The documents of
the suites are made anew where they are missing, on the state under ``TESSERA_VAR_DIR``. Prints a table and keeps one JSON file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.installation import installed
from benchmarks.quality import suites_below
from benchmarks.report import keep

SUITES = ("squad2", "clapnq", "xquad-en", "product-docs")
PAIRS = Path(__file__).resolve().parents[1] / "tests" / "search" / "contradictions.jsonl"


def false_alarms(folder: Path, limit: int, models: Any, *, show: bool) -> dict[str, Any]:
    """Of the questions of a suite, how many show a conflict: by the best passage alone, as an answer that cites one has
    it, and by any of those found."""
    from ingestion.evaluating import IngestionPublisher
    from search.answering import HITS, MOST_SOURCES
    from search.conflicts import find_conflicts
    from search.evaluation.corpora import organization_of, prepare
    from search.evaluation.suites import chosen, read
    from search.passages import choose_sources, number
    from search.retrieval import SearchFilters, readable_collections, retrieve

    suite = chosen(read(folder), limit=limit)
    prepare(
        suite, embedder=models.embedder, publisher=IngestionPublisher(works_itself=True), say=lambda _: None
    )
    home = organization_of(suite.name)
    collections = tuple(readable_collections(home))
    counts = {"questions": 0, "best": 0, "any": 0}
    for question in suite.questions:
        found = retrieve(
            organization=home, collection_ids=collections, query=question.text, limit=HITS,
            filters=SearchFilters(), embedder=models.embedder,
        )  # fmt: skip
        chosen_sources = choose_sources(found.hits)[:MOST_SOURCES]
        if not chosen_sources:
            continue
        best = chosen_sources[0].chunk_id
        sources = number(chosen_sources)
        cited = [(source, _most_asked(question.text, source)) for source in sources]
        conflicts = find_conflicts(question.text, [quote for _, quote in cited], sources)
        of_best = find_conflicts(question.text, [q for s, q in cited if s.chunk_id == best], sources)
        counts["questions"] += 1
        counts["best"] += bool(of_best)
        counts["any"] += bool(conflicts)
        for conflict in (of_best or conflicts) if show else ():
            print(
                "BEST" if of_best else "ANY",
                question.text,
                [(s.value, s.citation.quote[:200]) for s in conflict],
            )
    return counts


def _most_asked(question: str, source: Any) -> Any:
    from search.citations import cited
    from search.injected import claims
    from search.support import words

    asked = frozenset(words(question))
    spans = claims(source.text) or [(0, len(source.text))]
    span = max(spans, key=lambda s: len(asked & frozenset(words(source.text[s[0] : s[1]]))))
    return cited(source, *span)


def hits(folder: Path, limit: int) -> dict[str, int]:
    """Of sentences that hold a known answer with a number, how many are told from themselves with another number."""
    from search.evaluation.suites import chosen, read
    from search.injected import claims

    suite = chosen(read(folder), limit=limit)
    texts = {text.id: text.text for text in suite.texts}
    counts = {"pairs": 0, "found": 0}
    for question in suite.questions:
        answer = next((a for a in question.answers if re.search(r"\d", a)), None)
        text = texts.get(question.gold[0], "") if question.gold else ""
        said = next((text[s:e] for s, e in claims(text) if answer and answer in text[s:e]), None)
        if answer is None or said is None or len(said) > 400:
            continue
        number = re.search(r"\d+", answer)
        assert number is not None
        other = answer[: number.start()] + str(int(number.group()) + 7) + answer[number.end() :]
        counts["pairs"] += 1
        counts["found"] += bool(_between(question.text, said, said.replace(answer, other)))
    return counts


def pairs(*, show: bool) -> dict[str, int]:
    """Of the pairs written for it, how many contradictions are found, and how many others are taken for one."""
    counts = {"contradictions": 0, "found": 0, "others": 0, "alarms": 0}
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = _between(row["question"], row["one"], row["other"])
        counts["contradictions" if row["conflict"] else "others"] += 1
        counts["found" if row["conflict"] else "alarms"] += bool(values)
        if show and bool(values) != row["conflict"]:
            print("WRONG", row, values)
    return counts


def _between(question: str, one: str, other: str) -> list[list[str]]:
    from search.citations import cited
    from search.conflicts import find_conflicts
    from search.passages import Source

    sources = [
        Source(n, uuid4(), uuid4(), uuid4(), "General", title, 1, 0, len(text), text, 1.0)
        for n, title, text in ((1, "One", one), (2, "Other", other))
    ]
    found = find_conflicts(question, [cited(sources[0], 0, len(one))], sources)
    return [[said.value for said in conflict] for conflict in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=list(SUITES))
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    with installed({"retrieval_only": True, "model": ""}) as models:
        result: dict[str, Any] = {"written pairs": pairs(show=options.show)}
        print(result)
        for folder in suites_below(options.folder.resolve()):
            if folder.name in options.only:
                alarms = false_alarms(folder, options.limit, models, show=options.show)
                result[folder.name] = {
                    "false_alarms": alarms,
                    "altered_numbers": hits(folder, options.limit),
                }
                print(folder.name, result[folder.name], flush=True)
    print(keep("conflicts", {"limit": options.limit, **result}))


if __name__ == "__main__":
    main()
