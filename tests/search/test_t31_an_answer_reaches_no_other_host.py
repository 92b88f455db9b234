"""T31: an answer made of an injected document loads nothing and links nowhere but to its citations."""

from __future__ import annotations

import pytest

from benchmarks.injection_cases import reaches
from inference.runtime import Runtime
from search.markup import render
from tenants.models import Organization
from tests.search.doubles import ScriptedGenerator
from tests.search.injected_library import EVERY, ask, publish, shown

pytestmark = pytest.mark.django_db
WAYS = [
    "image-inline",
    "image-reference",
    "autolink",
    "html-image",
    "css-import",
    "html-form",
    "fake-mark-link",
]


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY.keys())
def test_every_document_of_the_set_rendered_as_an_answer_is_inert(attack: object) -> None:
    files = EVERY[attack.id].files  # type: ignore[attr-defined]
    for file in files:
        assert not reaches(render(file.text, {1: "/o/acme/documents/1/?page=1"})), file.name


@pytest.mark.parametrize("id", WAYS)
def test_a_model_that_obeys_reaches_nobody(
    acme: Organization, clean_index: None, models: Runtime, generator: ScriptedGenerator, id: str
) -> None:
    attack = EVERY[id]
    publish(acme, attack, models)
    honest = attack.files[-1].text.split("\n\n")[1]
    generator.reply = f"{honest} {attack.files[0].text}"
    done = ask(acme, attack.question, models)
    assert done.status == "answered"
    assert not reaches(shown(acme, done).html)


def test_the_judge_sees_what_an_ordinary_page_would_load() -> None:
    assert reaches('<img src="https://evil.example/p">', "evil.example")
    assert reaches("<style>@import url('https://evil.example/s.css')</style>", "evil.example")
    assert reaches('<a href="//evil.example">x</a>', "evil.example")
    assert not reaches('<a class="citation" href="/o/acme/documents/1/" data-n="1">[1]</a>')
