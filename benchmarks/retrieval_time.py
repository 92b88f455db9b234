"""How long a search takes in an organisation of 100,000 passages, from the question's words to its hits.

    python -m benchmarks.retrieval_time [../shared/eval] [--points N] [--questions N] [--profile] [--folder KEPT]

What is timed is :func:`search.retrieval.retrieve` as the product calls it: the question's embedding, the index, the rows
from the database with the check of what may be read, their order, repeats and facets. Passages are five sentences of
SciFact each, drawn anew for each of them; a passage's embedding is the mean of five abstracts', of a thousand that are
embedded, since a hundred thousand would take an hour; it lies in a row, as its words do; the questions are SciFact's.
Works in a folder of its own, or in ``--folder``, which is kept and used again.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.installation import installed
from benchmarks.report import keep, quantile

COLLECTIONS = 10
PER_DOCUMENT = 50
PER_PAGE = 5
SENTENCES = 5
EMBEDDED = 1000
WARM_UP = 10
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+")


def material(folder: Path) -> tuple[list[tuple[int, str]], list[str], list[str]]:
    """Sentences with the numbers of their abstracts, the abstracts, and the questions."""
    lines = (folder / "corpus.jsonl").read_text("utf-8").splitlines()
    abstracts = [json.loads(line)["text"] for line in lines]
    queries = (folder / "queries.jsonl").read_text("utf-8").splitlines()
    sentences = [
        (number, sentence)
        for number, abstract in enumerate(abstracts)
        for sentence in _SENTENCE_ENDS.split(abstract)
        if len(sentence.split()) >= 8
    ]
    return sentences, abstracts, [json.loads(line)["text"] for line in queries]


def fill(
    organization: Any,
    count: int,
    sentences: Sequence[tuple[int, str]],
    of_abstracts: npt.NDArray[np.float32],
    model: str,
) -> None:
    """Writes ``count`` passages as published documents, and makes their index."""
    from ingestion.publishing import ROWS_PER_STATEMENT, chunk_id
    from search.models import Chunk, Collection, Document, DocumentVersion, Page
    from search.reindex import reindex
    from tenants.scope import tenant_scope

    chance = np.random.default_rng(0)
    with tenant_scope(organization):
        collections = Collection.objects.bulk_create(
            Collection(organization=organization, name=f"Collection {n}") for n in range(COLLECTIONS)
        )
    for first in range(0, count, PER_DOCUMENT):
        number = first // PER_DOCUMENT
        place = collections[number % COLLECTIONS]
        title = " ".join(sentences[int(chance.integers(len(sentences)))][1].split()[:6])
        document = Document(
            organization=organization, collection=place, title=title, filename=f"{number}.pdf"
        )
        version = DocumentVersion(
            organization=organization, document=document, file="", sha256=f"{number:064x}", size=1,
            media_type="application/pdf", language="en", page_count=PER_DOCUMENT // PER_PAGE,
        )  # fmt: skip
        pages, chunks = [], []
        for page in range(PER_DOCUMENT // PER_PAGE):
            text = ""
            for at in range(PER_PAGE):
                drawn = [sentences[n] for n in chance.integers(len(sentences), size=SENTENCES)]
                vector = of_abstracts[[abstract % len(of_abstracts) for abstract, _ in drawn]].mean(axis=0)
                start, ordinal = len(text), page * PER_PAGE + at
                text += " ".join(sentence for _, sentence in drawn) + "\n"
                chunks.append(
                    Chunk(
                        id=chunk_id(organization.pk, version.id, ordinal),
                        organization=organization,
                        version=version,
                        ordinal=ordinal,
                        page=page + 1,
                        start=start,
                        end=len(text) - 1,
                        text=text[start:-1],
                        headings=[title],
                        embedding_model=model,
                        embedding=(vector / np.linalg.norm(vector)).astype("<f2").tobytes(),
                    )
                )
            pages.append(Page(organization=organization, version=version, number=page + 1, text=text))
        with tenant_scope(organization):
            document.save()
            version.save()
            Page.objects.bulk_create(pages, batch_size=ROWS_PER_STATEMENT)
            Chunk.objects.bulk_create(chunks, batch_size=ROWS_PER_STATEMENT)
            document.published = version
            document.save(update_fields=["published"])
    reindex(organization)


def measure(organization: Any, embedder: Any, questions: Sequence[str], *, profile: bool) -> dict[str, Any]:
    """Milliseconds of a question, by how much its asker may read, and those of its embedding alone."""
    from search.retrieval import readable_collections, retrieve

    everything = readable_collections(organization)
    half = everything[: (len(everything) + 1) // 2]

    def ask(collections: Sequence[Any], earlier: str = "") -> Callable[[str], Any]:
        return lambda question: retrieve(
            organization=organization, collection_ids=collections, query=question, embedder=embedder, earlier=earlier
        )  # fmt: skip

    acts: dict[str, Callable[[str], Any]] = {
        "embedding alone": embedder.embed_query,
        "may read all": ask(everything),
        "may read half": ask(half),
        "may read a tenth": ask(everything[:1]),
        "a follow-up": ask(everything, earlier=questions[0]),
    }
    found = {name: _times(act, questions) for name, act in acts.items()}
    if profile:
        with cProfile.Profile() as profiler:
            for question in questions:
                acts["may read all"](question)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(35)
    return found


def _times(act: Callable[[str], Any], questions: Sequence[str]) -> dict[str, float]:
    for question in questions[:WARM_UP]:
        act(question)
    taken = []
    for question in questions[WARM_UP:]:
        begun = time.perf_counter()
        act(question)
        taken.append((time.perf_counter() - begun) * 1e3)
    return {"p50_ms": round(quantile(taken, 0.5), 1), "p95_ms": round(quantile(taken, 0.95), 1)}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("material", type=Path, nargs="?", default=Path("../shared/eval"))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--profile", action="store_true", help="Print where the time goes.")
    parser.add_argument("--folder", type=Path, help="Keep the state here, and use it again.")
    options = parser.parse_args(arguments)
    home = options.folder or Path(tempfile.mkdtemp(prefix="tessera-retrieval-"))
    os.environ["TESSERA_VAR_DIR"] = str(home)
    try:
        print(_run(options))
    finally:
        if options.folder is None:
            shutil.rmtree(home, ignore_errors=True)


def _run(options: argparse.Namespace) -> str:
    sentences, abstracts, questions = material(options.material / "retrieval" / "scifact")
    with installed({"retrieval_only": True}) as models:
        from search.index import open_index
        from search.models import Chunk
        from tenants.models import Organization
        from tenants.scope import tenant_scope

        organization, new = Organization.objects.get_or_create(slug="large", defaults={"name": "Large"})
        if new:
            vectors = models.embedder.embed_passages(abstracts[:EMBEDDED])
            fill(organization, options.points, sentences, vectors, models.embedder.name)
        with tenant_scope(organization):
            passages = Chunk.objects.count()
        if (points := open_index(organization).count()) != passages:
            raise SystemExit(
                f"{points} of {passages} passages are in the index: the folder is half made. Take another."
            )
        asked = questions[: options.questions + WARM_UP]
        found = measure(organization, models.embedder, asked, profile=options.profile)
        result = {"passages": passages, "embedder": models.embedder.name, "questions": len(asked) - WARM_UP}
    path = keep("retrieval_time", {**result, "times": found})
    return f"{json.dumps({**result, 'times': found}, indent=1)}\n{path}"


if __name__ == "__main__":
    main(sys.argv[1:])
