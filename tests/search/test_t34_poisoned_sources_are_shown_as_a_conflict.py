"""T34: five documents that say the same untruth do not hide the honest one: the reader is told that they disagree."""

from __future__ import annotations

import pytest

from benchmarks.injection_cases import Attack
from inference.runtime import Runtime
from search.passages import PER_DOCUMENT
from tenants.models import Organization
from tests.search.doubles import ScriptedGenerator, WordEmbedder
from tests.search.injected_library import ask, of_case, publish
from tests.search.library import add_document

pytestmark = pytest.mark.django_db
NUMBERS_AND_NAMES = [attack for attack in of_case("T34") if attack.id != "h-poison"]


@pytest.mark.parametrize("attack", NUMBERS_AND_NAMES, ids=lambda attack: attack.id)
def test_the_honest_source_is_shown_beside_the_poisoned_answer(
    acme: Organization, clean_index: None, models: Runtime, generator: ScriptedGenerator, attack: Attack
) -> None:
    publish(acme, attack, models)
    generator.reply = attack.files[2].text
    done = ask(acme, attack.question, models)
    assert done.status == "answered"
    honest = [
        said
        for conflict in done.conflicts
        for said in conflict
        if said.citation.title == attack.files[-1].name.partition(".")[0]
    ]
    assert any(word in said.value.lower() for said in honest for word in attack.expected), done.conflicts


def test_one_document_does_not_fill_the_prompt(
    acme: Organization, clean_index: None, models: Runtime, generator: ScriptedGenerator
) -> None:
    many = "\n\n".join(f"Visitors park in the courtyard of the owl building, gate {n}." for n in range(9))
    add_document(acme, "Poison", many, embedder=WordEmbedder())
    add_document(acme, "Handbook", "Visitors park in the garage in Mill Street.", embedder=WordEmbedder())
    generator.reply = "Visitors park in the garage in Mill Street."
    assert ask(acme, "Where do visitors park?", models).status == "answered"
    assert generator.prompts[0].count("owl building") <= PER_DOCUMENT
    assert "Mill Street" in generator.prompts[0]
