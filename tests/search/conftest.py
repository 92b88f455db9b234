"""A small library of acme, and models that say what a test tells them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from inference import runtime
from inference.runtime import Runtime
from search.index import opening
from tenants.models import Organization
from tests.search.doubles import ScriptedGenerator, WordEmbedder
from tests.search.library import add_document


@dataclass(frozen=True, slots=True)
class Library:
    """What acme has: the ids of its two documents."""

    tariff: UUID
    warranty: UUID


@pytest.fixture
def generator() -> ScriptedGenerator:
    return ScriptedGenerator()


@pytest.fixture
def models(generator: ScriptedGenerator) -> Iterator[Runtime]:
    """The installed models of the test: a scripted generator and an embedder of words."""
    ready = Runtime.of(generator=generator, embedder=WordEmbedder())
    runtime.install(ready)
    yield ready
    generator.release.set()
    runtime.uninstall()


@pytest.fixture
def clean_index(acme: Organization, globex: Organization) -> Iterator[None]:
    """The organisations of this test have an index of their own, whatever had their number before."""
    for organization in (acme, globex):
        opening.drop_index(organization)
    yield
    for organization in (acme, globex):
        with contextlib.suppress(Exception):
            opening.drop_index(organization)


@pytest.fixture
def library(acme: Organization, clean_index: None, models: Any) -> Library:
    embedder = WordEmbedder()
    return Library(
        tariff=add_document(
            acme,
            "Tariff",
            "Introduction to the tariff of Acme.",
            "The monthly tariff is 20 euros. It starts in May 2024.\n\nCancellation takes 30 days by letter.",
            embedder=embedder,
            dated=date(2024, 5, 1),
        ),
        warranty=add_document(
            acme,
            "Warranty",
            "The warranty covers the motor for five years. Wear of the blades is excluded.",
            embedder=embedder,
            collection="Service",
            media_type="text/plain",
            dated=date(2022, 1, 1),
        ),
    )
