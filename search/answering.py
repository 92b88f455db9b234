"""A question's way to its answer. READ SECOND: from top to bottom, this is what happens to a question.

What always holds: nothing is generated when no passage is near enough; every mark in the answer has its
citation, a passage this asker may read; an answer without any citation is not an answer. No scope,
transaction or connection is held while the model works: each database access is one short function that
enters and leaves both.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np
from django.conf import settings

from inference.embedder import Embedder
from inference.errors import InferenceError
from inference.request import Finished, Handle, Priority, SamplingParams, Share, TextGenerator
from inference.runtime import Runtime
from search.answer_kinds import is_of_the_kind_asked_for
from search.citations import AnswerWriter, Citation, Piece, Semantic
from search.conflicts import Conflict, find_conflicts, with_dates
from search.events import (
    AnswerCompleted,
    AnswerDelta,
    AnswerEvent,
    AnswerFailed,
    CitationFound,
    CitationVerified,
    QueryRewritten,
    SourcesFound,
    UsageCounted,
)
from search.index import IndexFailure
from search.injected import claims
from search.leaks import leave_out_prompt
from search.passages import Source, choose_sources, fit, load_pages, number, widen
from search.prompting import build_messages, earlier_question, retrieval_query
from search.quoting import quote_of_the_kind_asked_for
from search.retrieval import SearchFilters, retrieve
from search.support import words
from search.unsupported import leave_out, unsupported_spans
from tenants.models import Organization

NOT_IN_DOCUMENTS = "This is not in your documents."
HITS = 12
MOST_SOURCES = 6

Status = Literal["answered", "not_found", "stopped"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``earlier`` are the questions of the conversation before it, oldest first."""

    text: str
    collection_ids: tuple[UUID, ...]
    filters: SearchFilters
    earlier: tuple[str, ...] = ()
    vary: bool = False
    """Ask the model for another wording instead of the most likely one."""


class StopSignal:
    """Ends a generation from another thread, also one that has not begun. Stopping twice is stopping once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: Handle | None = None
        self.requested = False

    def stop(self) -> None:
        with self._lock:
            self.requested = True
            handle = self._handle
        if handle is not None:
            handle.abort()

    def watch(self, handle: Handle) -> None:
        with self._lock:
            self._handle = handle
            requested = self.requested
        if requested:
            handle.abort()


def answer(
    *, organization: Organization, question: Question, models: Runtime, stop: StopSignal, priority: Priority
) -> Iterator[AnswerEvent]:
    """Answers a question, event by event, ending with ``AnswerCompleted`` or ``AnswerFailed``.

    What goes wrong in the engine or the index is the last event.
    """
    try:
        yield from _answer(organization, question, models, stop, priority)
    except InferenceError as error:
        yield AnswerFailed(error.code, f"{error} {error.hint}")
    except IndexFailure as error:
        yield AnswerFailed(error.code, f"{error.message} {error.detail}")


def _answer(
    organization: Organization, question: Question, models: Runtime, stop: StopSignal, priority: Priority
) -> Iterator[AnswerEvent]:
    generator, embedder = models.generator, models.embedder

    # 1. What to search for: a follow-up means little without the question before it.
    query = retrieval_query(question.text, question.earlier)
    if query != question.text:
        yield QueryRewritten(query)

    # 2. The passages, of the collections that the asker may read.
    found = retrieve(
        organization=organization,
        collection_ids=question.collection_ids,
        query=question.text,
        earlier=earlier_question(question.earlier),
        limit=HITS,
        filters=question.filters,
        embedder=embedder,
    )
    chosen = choose_sources(found.hits)[:MOST_SOURCES]
    near = found.best_similarity >= settings.ENV.min_similarity
    if not chosen or not (near or _says_all_words(chosen, query)):
        yield SourcesFound(tuple(number(chosen[:3])))
        yield from _not_found()
        return

    # 3. The prompt: as much as the token budget holds, in a stable order.
    sources = _within_budget(organization, chosen, generator)
    yield SourcesFound(tuple(sources))
    prompt = generator.render_chat(build_messages(question.text, sources, question.earlier))

    # 4. The model writes; each sentence is checked against the passages as soon as it ends.
    handle = generator.submit(prompt, _sampling(question), share=share_of(organization), priority=priority)
    stop.watch(handle)
    writer = AnswerWriter(sources, _semantic(embedder))
    finished = yield from _write(handle, writer)
    if finished.error is not None:
        raise finished.error

    # 5. The answer, or that there is none.
    usage = UsageCounted(finished.usage.prompt_tokens, finished.usage.completion_tokens)
    model = generator.model_name
    text = leave_out_prompt(writer.text)
    cited = [citation for citation in writer.citations.values() if f"[{citation.n}]" in text]
    if finished.reason == "aborted" and stop.requested:
        yield from _end("stopped", text, cited, usage, model)
    elif not cited:
        yield from _not_found(usage, model, said=bool(writer.text))
    elif is_of_the_kind_asked_for(question.text, text):
        conflicts = with_dates(organization, find_conflicts(question.text, cited, sources))
        yield from _end("answered", _kept(text), cited, usage, model, conflicts)
    elif (quoted := quote_of_the_kind_asked_for(question.text, sources)) is not None:
        conflicts = with_dates(organization, find_conflicts(question.text, [quoted.citation], sources))
        yield from _end("answered", quoted.text, [quoted.citation], usage, model, conflicts)
    else:
        yield from _not_found(usage, model, said=bool(writer.text))


def _kept(text: str) -> str:
    """The answer as the settings want it: with its unsupported sentences, which readers see marked, or without."""
    return leave_out(text, unsupported_spans(text)) if settings.ENV.unsupported_sentences == "omit" else text


def share_of(organization: Organization) -> Share:
    """The organisation's part of the engine. The salt keeps its prefix-cache blocks from all others."""
    salt = hmac.new(settings.SECRET_KEY.encode(), f"cache-salt:{organization.pk}".encode(), hashlib.sha256)
    return Share(key=str(organization.pk), weight=1.0, cache_salt=salt.digest())


def _says_all_words(sources: Sequence[Source], query: str) -> bool:
    """Whether one passage has every content word of ``query``: a long passage is far from each of its sentences."""
    asked = frozenset(words(query))
    return (
        any(asked <= frozenset(words(f"{source.title} {source.text}")) for source in sources)
        if asked
        else False
    )


def _within_budget(
    organization: Organization, chosen: Sequence[Source], generator: TextGenerator
) -> list[Source]:
    budget = min(settings.ENV.context_tokens, generator.max_model_len - settings.ENV.max_answer_tokens - 500)
    fitted = fit(chosen, budget=budget, count=generator.count_tokens)
    pages = load_pages(organization, [(source.version_id, source.page) for source in fitted])
    return number(widen(fitted, pages, budget=budget, count=generator.count_tokens))


def _sampling(question: Question) -> SamplingParams:
    longest = settings.ENV.max_answer_tokens
    if question.vary:
        return SamplingParams(max_tokens=longest, temperature=0.7, top_p=0.9)
    return SamplingParams(max_tokens=longest)


def _write(handle: Handle, writer: AnswerWriter) -> Generator[AnswerEvent, None, Finished]:
    """Passes the model's output through ``writer``. Returns the ``Finished`` event (by ``yield from``)."""
    for event in handle:
        if isinstance(event, Finished):
            yield from _events(writer.finish())
            return event
        yield from _events(writer.feed(event.text))
    raise InferenceError("The engine ended without a word.")


def _events(pieces: Sequence[Piece]) -> Iterator[AnswerEvent]:
    for piece in pieces:
        if isinstance(piece, str):
            yield AnswerDelta(piece)
        elif isinstance(piece, Citation):
            yield CitationFound(piece)
        else:
            yield CitationVerified(piece.n, piece.support)


def _not_found(
    usage: UsageCounted | None = None, model: str = "", *, said: bool = False
) -> Iterator[AnswerEvent]:
    if not said:
        yield AnswerDelta(NOT_IN_DOCUMENTS)
    yield from _end("not_found", NOT_IN_DOCUMENTS, (), usage or UsageCounted(0, 0), model)


def _end(
    status: Status,
    text: str,
    citations: Iterable[Citation],
    usage: UsageCounted,
    model: str,
    conflicts: Iterable[Conflict] = (),
) -> Iterator[AnswerEvent]:
    yield usage
    yield AnswerCompleted(status, text, tuple(citations), usage, model, tuple(conflicts))


def _semantic(embedder: Embedder) -> Semantic:
    """Cosine of a sentence and the nearest sentence of a source; a source is embedded once, when first
    needed.
    """
    known: dict[int, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}

    def similarity(sentence: str, source: Source) -> float:
        if source.n not in known:
            texts = [source.text[start:end] for start, end in claims(source.text)]
            if not texts:
                return 0.0
            known[source.n] = embedder.embed_passages(texts)
        return float((known[source.n] @ embedder.embed_query(sentence)).max())

    return similarity
