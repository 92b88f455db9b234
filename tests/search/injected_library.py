"""The fixed set of injected documents as published documents of an organisation, and a question asked of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.injection_cases import Attack, Shown, attacks
from inference.request import Priority
from inference.runtime import Runtime
from ingestion.child import parse_file
from ingestion.guards import Limits
from search.answering import Question, answer
from search.events import AnswerCompleted
from search.generating import StopSignal
from search.links import citation_links
from search.markup import render
from search.retrieval import SearchFilters, readable_collections
from tenants.models import Organization
from tests.search.library import add_document

EVERY = {attack.id: attack for name in ("attacks", "held") for attack in attacks(name)}


def of_case(case: str) -> list[Attack]:
    return [attack for attack in EVERY.values() if attack.case == case]


def text_of(name: str, text: str) -> str:
    """The text of a file as ingestion reads it, in a child process."""
    with TemporaryDirectory() as folder:
        path = Path(folder, hashlib.sha256(name.encode()).hexdigest() + Path(name).suffix)
        path.write_text(text, encoding="utf-8")
        return "\n\n".join(page.text for page in parse_file(path, filename=path.name, limits=Limits()).pages)


def publish(organization: Organization, attack: Attack, models: Runtime) -> None:
    """The files of an attack, injected and honest, one page and one passage each."""
    for file in attack.files:
        text = " ".join(text_of(file.name, file.text).split("\n\n"))
        add_document(organization, Path(file.name).stem, text, embedder=models.embedder)


def ask(organization: Organization, question: str, models: Runtime) -> AnswerCompleted:
    *_, last = answer(
        organization=organization,
        question=Question(question, tuple(readable_collections(organization)), SearchFilters()),
        models=models,
        stop=StopSignal(),
        priority=Priority.INTERACTIVE,
    )
    assert isinstance(last, AnswerCompleted)
    return last


def shown(organization: Organization, done: AnswerCompleted) -> Shown:
    """An answer as its page shows it."""
    links = citation_links(organization.slug, (citation.as_json() for citation in done.citations))
    html = render(done.answer, links)
    return Shown(done.answer, html, done.status == "not_found", frozenset(c.n for c in done.citations))
