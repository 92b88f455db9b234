"""Pages that hold the numbers of a reference answer, for questions about files whose suite names no page.

What always holds: it is told apart from given evidence (``derived_page_hit@5``), since nobody has looked at it: in each source
file those pages count that hold most of the answer's numbers, if they hold two of them, the only one, or one of four digits or
more, which hardly stands there by chance: an answer from several files has often one number of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from search.evaluation.suites import Suite, SuiteQuestion
from search.models import Page
from tenants.models import Organization
from tenants.scope import tenant_scope

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])")
_YEAR = re.compile(r"(?:19|20)\d\d\Z")
TELLING = 4
"""Digits of a number that alone makes a page evidence."""
Texts = Mapping[str, Mapping[int, frozenset[str]]]
"""Per document and page the numbers on it."""


def with_derived_pages(suite: Suite, organization: Organization, names: Mapping[UUID, str]) -> Suite:
    """The suite, in which each question without pages has those that hold its answer's numbers, if there are any."""
    if suite.kind != "files" or all(question.pages for question in suite.questions):
        return suite
    texts: dict[str, dict[int, frozenset[str]]] = {}
    with tenant_scope(organization):
        rows = Page.objects.filter(version__published_for__isnull=False)
        for document, number, text in rows.values_list("version__document_id", "number", "text").iterator(
            200
        ):
            texts.setdefault(names.get(document, ""), {})[number] = numbers(text)
    return replace(suite, questions=tuple(q if q.pages else _derived(q, texts) for q in suite.questions))


def numbers(text: str) -> frozenset[str]:
    """The numbers of a text that tell something: no years, and nothing of fewer than three characters."""
    return frozenset(n for n in _NUMBER.findall(text) if len(n) >= 3 and not _YEAR.match(n))


def pages_with(wanted: Iterable[str], pages: Mapping[int, frozenset[str]]) -> list[int]:
    """The pages of one file that hold most of ``wanted``."""
    looked_for = frozenset(wanted)
    found = {number: looked_for & there for number, there in pages.items()}
    most = max(map(len, found.values()), default=0)
    enough = min(2, len(looked_for))
    return sorted(
        number
        for number, shared in found.items()
        if len(shared) == most > 0 and (most >= enough or any(_is_telling(n) for n in shared))
    )


def _is_telling(number: str) -> bool:
    return sum(c.isdigit() for c in number) >= TELLING


def _derived(question: SuiteQuestion, texts: Texts) -> SuiteQuestion:
    wanted = numbers(" ".join(question.answers))
    found = [(name, page) for name in question.gold for page in pages_with(wanted, texts.get(name, {}))]
    return replace(question, derived_pages=tuple(found))
