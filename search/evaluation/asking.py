"""One question, asked as a user asks it: :func:`search.retrieval.retrieve` and :func:`search.answering.answer`, with the
product's settings, and what came of it.

What always holds: the same functions and settings as for a person, only the priority is lower; documents are ranked by
their best passage; an answer that failed is no refusal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from inference.errors import NotReady, Overloaded
from inference.request import Priority
from inference.runtime import Runtime
from search.answering import Question, answer
from search.citations import drop_marks
from search.conversations import EARLIER_QUESTIONS
from search.evaluation import metrics
from search.evaluation.evidence import cited_sentences, points_at_evidence
from search.evaluation.suites import SuiteQuestion
from search.events import AnswerCompleted, AnswerDelta, AnswerFailed, QueryRewritten
from search.generating import StopSignal
from search.hits import Hit
from search.passages import load_pages
from search.prompting import earlier_question, retrieval_query
from search.retrieval import Retrieval, SearchFilters, retrieve
from tenants.models import Organization

RANKED = 200
"""Hits that are ranked, as many as leave the depth of the lists before fusion as it is for a person."""
SHOWN = 10
FIRST = 5
"""Passages, or pages, that count as found at once."""
MOST_TRIES = 8
WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Asking:
    """What every question of a run is asked with. ``names`` tells a document's name in the suite by its id."""

    organization: Organization
    collection_ids: tuple[UUID, ...]
    names: Mapping[UUID, str]
    models: Runtime
    retrieval_only: bool = False
    oracle: bool = False
    """Search only the documents that hold the answer: the ceiling for a retrieval that never misses."""


@dataclass(slots=True)
class Outcome:
    """What came of a question. Metrics that say nothing about it are missing."""

    question: SuiteQuestion
    status: str = "found"
    answer: str = ""
    query: str = ""
    model: str = ""
    error_code: str = ""
    citations: list[dict[str, Any]] = field(default_factory=list)
    passages: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        return self.status == "not_found"


def ask(question: SuiteQuestion, asking: Asking) -> Outcome:
    """Asks one question. Raises what :func:`retrieve` raises."""
    outcome = Outcome(question)
    if not asking.retrieval_only:
        _answer(outcome, asking)
    _rank(outcome, asking)
    return outcome


def _answer(outcome: Outcome, asking: Asking) -> None:
    for attempt in range(1, MOST_TRIES + 1):
        _try_to_answer(outcome, asking)
        if outcome.error_code != "overloaded" or attempt == MOST_TRIES:
            break
        time.sleep(WAIT_S)
    judge_answer(outcome, asking)


def _try_to_answer(outcome: Outcome, asking: Asking) -> None:
    question = outcome.question
    asked = Question(
        text=question.text,
        collection_ids=asking.collection_ids,
        filters=_filters(question, asking),
        earlier=question.earlier[-EARLIER_QUESTIONS:],
    )
    outcome.query, outcome.error_code, outcome.timings = question.text, "", {}
    begun = time.perf_counter()
    for event in answer(
        organization=asking.organization,
        question=asked,
        models=asking.models,
        stop=StopSignal(),
        priority=Priority.BATCH,
    ):
        seconds = round(time.perf_counter() - begun, 4)
        match event:
            case QueryRewritten(query):
                outcome.query = query
            case AnswerDelta():
                outcome.timings.setdefault("first_token_s", seconds)
            case AnswerCompleted():
                outcome.status, outcome.answer, outcome.model = event.status, event.answer, event.model
                outcome.citations = [citation.as_json() for citation in event.citations]
                outcome.timings["total_s"] = seconds
                outcome.timings["prompt_tokens"] = event.usage.prompt_tokens
                outcome.timings["completion_tokens"] = event.usage.completion_tokens
            case AnswerFailed():
                outcome.status, outcome.error_code = "failed", event.code[:40]
                outcome.timings["total_s"] = seconds


def judge_answer(outcome: Outcome, asking: Asking) -> None:
    """Puts the metrics of the answer into ``outcome``, and into each citation whether it is ``right``."""
    question, said = outcome.question, outcome.metrics
    if question.answerable is None:
        return
    said["refused"] = float(outcome.refused)
    if not question.answerable:
        return
    answered = outcome.status == "answered"
    text = drop_marks(outcome.answer).strip() if answered else ""
    if question.answers:
        said["exact_match"] = metrics.exact_match(text, question.answers) if answered else 0.0
        said["token_f1"] = metrics.token_f1(text, question.answers) if answered else 0.0
    cited, sentences = cited_sentences(outcome.answer) if answered else (0, 0)
    said["citation_recall"] = cited / sentences if sentences else 0.0
    if not question.gold:
        return
    keys = [(UUID(str(c["version_id"])), int(c["page"])) for c in outcome.citations]
    pages = load_pages(asking.organization, keys) if keys else {}
    for citation, key in zip(outcome.citations, keys, strict=True):
        name = _name(asking, UUID(str(citation["document_id"])))
        citation["gold"] = there = name in question.gold and (
            not question.pages or (name, key[1]) in question.pages
        )
        citation["right"] = there and points_at_evidence(citation, pages.get(key, ""), question.answers)
    said["citations"] = float(len(outcome.citations))
    said["citations_gold"] = float(sum(bool(c["gold"]) for c in outcome.citations))
    said["citations_right"] = float(sum(bool(c["right"]) for c in outcome.citations))


def _rank(outcome: Outcome, asking: Asking) -> None:
    """The ranking of the documents, by what the answer searched for."""
    question = outcome.question
    earlier = question.earlier[-EARLIER_QUESTIONS:]
    found = _retrieve(outcome, asking, earlier_question(earlier))
    outcome.query = outcome.query or retrieval_query(question.text, earlier)
    outcome.passages = [_passage(hit, asking) for hit in found.hits[:SHOWN]]
    outcome.metrics["best_similarity"] = round(found.best_similarity, 4)
    judge_ranking(outcome, [(_name(asking, hit.document_id), hit.page) for hit in found.hits])
    if question.spans:
        _judge_spans(outcome.metrics, question, found.hits, asking)


def judge_ranking(outcome: Outcome, found: Sequence[tuple[str, int]]) -> None:
    """Puts the metrics of a ranking into ``outcome``: ``found`` are names of documents and pages, best first, repeated ones
    too."""
    question, said = outcome.question, outcome.metrics
    ranked = list(dict.fromkeys(name for name, _ in found))
    if question.relevant:
        _put(said, "ndcg@10", metrics.ndcg(ranked, question.relevant, 10))
        _put(said, "recall@10", metrics.recall(ranked, question.relevant, 10))
        _put(said, "recall@100", metrics.recall(ranked, question.relevant, 100))
        _put(said, "mrr@10", metrics.reciprocal_rank(ranked, question.relevant, 10))
        _put(said, f"document_hit@{FIRST}", float(any(name in question.relevant for name in ranked[:FIRST])))
    first = list(dict.fromkeys(found))[:FIRST]
    for name, pages in (("page_hit", question.pages), ("derived_page_hit", question.derived_pages)):
        if pages:
            said[f"{name}@{FIRST}"] = float(any(page in pages for page in first))


def _retrieve(outcome: Outcome, asking: Asking, earlier: str) -> Retrieval:
    """As :func:`search.answering.answer` searches. A machine that is busy for a while is waited for."""
    for attempt in range(1, MOST_TRIES + 1):
        begun = time.perf_counter()
        try:
            found = retrieve(
                organization=asking.organization,
                collection_ids=asking.collection_ids,
                query=outcome.question.text,
                earlier=earlier,
                limit=RANKED,
                filters=_filters(outcome.question, asking),
                embedder=asking.models.embedder,
            )
        except (NotReady, Overloaded):
            if attempt == MOST_TRIES:
                raise
            time.sleep(WAIT_S)
        else:
            outcome.timings["retrieval_s"] = round(time.perf_counter() - begun, 4)
            return found
    raise AssertionError("unreachable")


def _judge_spans(
    said: dict[str, float], question: SuiteQuestion, hits: Sequence[Hit], asking: Asking
) -> None:
    """Characters of the first passages beside those that answer the question."""
    both = ours = theirs = 0
    for name in dict.fromkeys(span[0] for span in question.spans):
        found = [(h.start, h.end) for h in hits[:FIRST] if _name(asking, h.document_id) == name]
        wanted = [(start, end) for document, start, end in question.spans if document == name]
        shared, here, there = metrics.covered(found, wanted)
        both, ours, theirs = both + shared, ours + here, theirs + there
    ours += sum(h.end - h.start for h in hits[:FIRST] if _name(asking, h.document_id) not in question.gold)
    said[f"span_recall@{FIRST}"] = both / theirs if theirs else 0.0
    said[f"span_precision@{FIRST}"] = both / ours if ours else 0.0
    said[f"span_iou@{FIRST}"] = both / (ours + theirs - both) if ours + theirs else 0.0


def _filters(question: SuiteQuestion, asking: Asking) -> SearchFilters:
    if not asking.oracle or not question.gold:
        return SearchFilters()
    gold = set(question.gold)
    return SearchFilters(document_ids=tuple(id for id, name in asking.names.items() if name in gold))


def _passage(hit: Hit, asking: Asking) -> dict[str, Any]:
    return {
        "document_id": str(hit.document_id),
        "version_id": str(hit.version_id),
        "name": _name(asking, hit.document_id),
        "title": hit.title,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "text": hit.text[:300],
        "score": round(hit.score, 5),
        "similarity": round(hit.similarity, 4),
    }


def _name(asking: Asking, document_id: UUID) -> str:
    return asking.names.get(document_id, str(document_id))


def _put(said: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        said[name] = value
