"""A question's way to its answer. READ SECOND: from top to bottom, this is what happens to a question.

What always holds: no answer is generated when the passages hardly answer; every mark in the answer has its
citation, a passage this asker may read; an answer without any citation is not an answer. No scope,
transaction or connection is held while the model works: each database access is one short function that
enters and leaves both.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np
from django.conf import settings

from inference.embedder import Embedder
from inference.errors import InferenceError
from inference.request import Finished, Handle, Priority, SamplingParams, TextGenerator
from inference.runtime import Runtime
from search.answer_kinds import is_of_the_kind_asked_for
from search.answer_length import Length, length_asked_for
from search.answerability import Signals, calibration_for, share_said
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
from search.generating import Requests, StopSignal, share_of
from search.index import IndexFailure
from search.injected import claims
from search.leaks import leave_out_prompt
from search.passages import Source, choose_sources, fit, load_pages, number, widen
from search.profiles import profile_of
from search.prompting import build_check, build_messages, earlier_question, retrieval_query
from search.quoting import quote_of_the_kind_asked_for
from search.retrieval import SearchFilters, retrieve
from search.support import words
from search.unsupported import leave_out, unsupported_spans
from tenants.models import Organization

NOT_IN_DOCUMENTS = "This is not in your documents."
HITS = 12
MOST_SOURCES = 6
"""Passages that are found and shown; a small model reads the best of them only (:mod:`search.profiles`)."""
MOST_NEAREST = 3
"""Passages that are shown where none is near enough."""
BRIEF_TOKENS = 64
"""Longest answer of a few words."""

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
    if found.corrected:
        query = retrieval_query(found.corrected, question.earlier)
        yield QueryRewritten(query)
    chosen = choose_sources(found.hits)[:MOST_SOURCES]
    calibration = calibration_for(generator.model_name, embedder.name)
    near = calibration is not None or found.best_similarity >= settings.ENV.min_similarity
    if not chosen or not (near or _says_all_words(chosen, query)):
        yield SourcesFound(tuple(number(chosen[:MOST_NEAREST])))
        yield from _not_found()
        return

    # 3. The prompt: as much as the token budget holds and the model can do with, in a stable order.
    sources = within_budget(organization, chosen, generator)
    yield SourcesFound(tuple(sources))
    length = length_of(question.text)
    read = passages_to_read(sources, length, generator)

    # 4. Whether they answer the question at all. What is read for this is not read again for the answer.
    engine = Requests(generator, share_of(organization), priority, stop)
    if calibration is not None and settings.ENV.refuse_below > 0:
        says_yes = engine.says_yes(build_check(question.text, read, question.earlier))
        said = share_said(found.corrected or question.text, sources, read)
        if says_yes is not None and not stop.requested:
            signals = Signals(found.best_similarity, said, says_yes)
            if calibration.probability(signals) < settings.ENV.refuse_below:
                yield from _not_found(engine.usage, generator.model_name)
                return

    # 5. The model writes; each sentence is checked against the passages as soon as it ends.
    messages = build_messages(question.text, read, question.earlier, length=length)
    handle = engine.submit(messages, _sampling(question, length))
    writer = AnswerWriter(read, _semantic(embedder), question=question.text, brief=length == "brief")
    finished = yield from _write(handle, writer)
    engine.count(finished)

    # 6. The answer, or that there is none.
    usage, model = engine.usage, generator.model_name
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


def _says_all_words(sources: Sequence[Source], query: str) -> bool:
    """Whether one passage has every content word of ``query``: a long passage is far from each of its sentences."""
    asked = frozenset(words(query))
    return (
        any(asked <= frozenset(words(f"{source.title} {source.text}")) for source in sources)
        if asked
        else False
    )


def passages_to_read(sources: Sequence[Source], length: Length, generator: TextGenerator) -> list[Source]:
    """The best of the sources, as many as suit the model, in their order."""
    most = settings.ENV.answer_passages or profile_of(generator.model_name).passages(length)
    best = {source.n for source in sorted(sources, key=lambda source: -source.score)[:most]}
    return [source for source in sources if source.n in best]


def within_budget(
    organization: Organization, chosen: Sequence[Source], generator: TextGenerator
) -> list[Source]:
    """The chosen passages, widened on their pages as far as the token budget goes, in their order and numbered."""
    budget = min(settings.ENV.context_tokens, generator.max_model_len - settings.ENV.max_answer_tokens - 500)
    fitted = fit(chosen, budget=budget, count=generator.count_tokens)
    pages = load_pages(organization, [(source.version_id, source.page) for source in fitted])
    return number(widen(fitted, pages, budget=budget, count=generator.count_tokens))


def length_of(question: str) -> Length:
    """How long the answer should be: as the settings say, or as the question asks."""
    wanted = settings.ENV.answer_length
    return length_asked_for(question) if wanted == "auto" else wanted


def _sampling(question: Question, length: Length) -> SamplingParams:
    longest = settings.ENV.max_answer_tokens
    if length == "brief":
        longest = min(longest, BRIEF_TOKENS)
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
