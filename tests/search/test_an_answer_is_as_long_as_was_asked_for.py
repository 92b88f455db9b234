"""A question for a fact is answered in a few words, everything else in sentences, and a small model reads fewer passages."""

from __future__ import annotations

import pytest

from config.env import env
from inference.runtime import Runtime
from search.answer_length import LONGEST_BRIEF, length_asked_for
from search.answering import BRIEF_TOKENS
from search.profiles import LARGE, SMALL, parameters, profile_of
from search.prompting import REMINDERS
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.doubles import ScriptedGenerator
from tests.search.test_answer_from_documents import ASKED, ask, end

BRIEF = [
    "Who signed the contract?",
    "When does the warranty end?",
    "What is the daily allowance abroad?",
    "How many days of leave do I have?",
    "In which building do visitors register?",
    "Wie viele Urlaubstage habe ich?",
    "Wann endet die Garantie?",
    "Was kostet die Dichtung?",
]
FULL = [
    "How do I replace the seal?",
    "Why was revenue lower in spring?",
    "What happens if I am ill?",
    "Explain what the travel desk does.",
    "What is the difference between R5 and R7?",
    "Who is the buyer and when did they sign?",
    "Is the warranty five years?",
    "travel policy",
    "Was the contract terminated in 2020?",
    "Tell me about the project which was cancelled",
    "Is it true that the bridge was closed when it rained?",
    "What should I do if my laptop is stolen?",
    "What are the requirements for a visa application?",
    "Welche Voraussetzungen gelten für den Antrag?",
    "Darf ich entscheiden, wer mich vertritt?",
    "Warum dauert die Lieferung so lange?",
    "Wie wird die Dichtung ersetzt?",
    "Was ist der Unterschied zwischen R5 und R7?",
]


@pytest.mark.parametrize("question", BRIEF)
def test_a_question_for_a_fact_is_brief(question: str) -> None:
    assert length_asked_for(question) == "brief"


@pytest.mark.parametrize("question", FULL)
def test_any_other_question_is_full(question: str) -> None:
    assert length_asked_for(question) == "full"


def test_a_long_question_asks_for_more_than_a_fact() -> None:
    assert length_asked_for("When " + "very " * (LONGEST_BRIEF - 1)) == "brief"
    assert length_asked_for("When " + "very " * LONGEST_BRIEF) == "full"


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("qwen2.5-coder-0.5b-instruct", 0.5e9),
        ("smollm2-135m-instruct", 135e6),
        ("/models/Llama-3.3-70B-Instruct-Q4_K_M.gguf", 70e9),
        ("mixtral-8x7b", None),
        ("gpt-5", None),
        ("scripted", None),
    ],
)
def test_a_models_size_is_in_its_name(model: str, size: float | None) -> None:
    assert parameters(model) == size


def test_only_a_small_model_reads_few_passages() -> None:
    assert profile_of("qwen2.5-coder-0.5b-instruct") == SMALL
    assert profile_of("qwen2.5-coder-1.5b-instruct") == profile_of("gpt-5") == LARGE
    assert SMALL.passages("brief") < SMALL.passages("full") < LARGE.passages("brief")


@pytest.mark.django_db
def test_the_model_is_told_how_long_its_answer_should_be(
    acme: Organization, models: Runtime, library: Library, generator: ScriptedGenerator
) -> None:
    generator.reply = "20 euros"
    done = end(ask(acme, models))
    assert done.answer == f"20 euros [{done.citations[0].n}]"
    assert done.citations[0].quote == "The monthly tariff is 20 euros."
    assert f"{REMINDERS['brief']}\nQuestion: {ASKED}" in generator.prompts[-1]
    assert generator.params[-1].max_tokens == BRIEF_TOKENS
    ask(acme, models, "How is the monthly tariff paid in euros?")
    assert REMINDERS["full"] in generator.prompts[-1]
    assert generator.params[-1].max_tokens == env().max_answer_tokens


@pytest.mark.django_db
def test_settings_decide_on_length_and_passages(
    acme: Organization,
    models: Runtime,
    library: Library,
    generator: ScriptedGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    several = end(ask(acme, models)), generator.prompts[-1].count("Passage [")
    monkeypatch.setattr(env(), "answer_length", "full")
    monkeypatch.setattr(env(), "answer_passages", 1)
    one = end(ask(acme, models, ASKED)), generator.prompts[-1].count("Passage [")
    assert several[1] > 1 == one[1]
    assert one[0].answer == several[0].answer
    assert REMINDERS["full"] in generator.prompts[-1]
