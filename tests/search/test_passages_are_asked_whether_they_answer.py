"""Before a calibrated model answers it is asked whether the passages do; what is unlikely to be there is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from config.env import env
from inference.errors import InferenceError, InvalidRequest, NotReady, Overloaded
from inference.request import Delta, Finished, PromptTokens, SamplingParams, TokenLogprob, Usage
from inference.runtime import Runtime
from search import answerability
from search.answerability import YES_OR_NO, Calibration, Signals, calibration_for, share_said
from search.answering import NOT_IN_DOCUMENTS
from search.events import SourcesFound
from search.generating import share_of
from search.prompting import CHECK
from tenants.models import Organization
from tests.search.conftest import Library
from tests.search.doubles import ScriptedGenerator
from tests.search.test_answer_from_documents import ask, end
from tests.search.test_citation_marks_are_checked import SOURCES

LIKELY = Calibration(cosine=0.0, said=0.0, says_yes=1.0, constant=0.0)
Y, N, OTHER = ord("y"), ord("n"), ord("x")


class Speller(ScriptedGenerator):
    """Its tokens y and n are the words."""

    def token_bytes(self, token_id: int) -> bytes:
        return {Y: b" Yes", N: b"no"}.get(token_id, b"?")


def heard(*top: tuple[int, float], chosen: tuple[int, float] = (OTHER, -0.1)) -> float | None:
    generator = Speller()
    handle = generator.submit(generator.render_chat([]), YES_OR_NO, share=share_of(Organization()))
    handle.result()
    events = [
        Delta("", (chosen[0],), (TokenLogprob(*chosen, top=top),)),
        Finished("length", Usage(1, 1)),
    ]
    said, finished = answerability.ask(generator, iter(events))  # type: ignore[arg-type]
    assert finished is events[-1]
    return said


def test_yes_and_no_are_compared_however_they_are_spelt() -> None:
    assert heard((Y, -1.0), (N, -3.0)) == 2.0
    assert heard((N, -1.0), chosen=(Y, -0.5)) == 0.5
    assert heard((N, -1.0), (OTHER, -4.0)) == -3.0, "yes is as likely as the last at most"
    assert heard((OTHER, -4.0)) == 0.0


def test_the_share_of_the_question_that_two_neighbouring_sentences_say() -> None:
    assert share_said("Does the tariff start in May?", SOURCES, SOURCES[:1]) == 1.0
    assert 0 < share_said("Does the tariff start at the moon?", SOURCES, SOURCES[:1]) < 1
    assert share_said("Does the tariff start in May?", SOURCES, SOURCES[1:2]) == 0.0
    assert share_said("", SOURCES, SOURCES) == 0.0


def test_a_probability_grows_with_each_signal() -> None:
    fitted = calibration_for("qwen2.5-coder-0.5b-instruct", "all-MiniLM-L6-v2")
    assert fitted is not None
    low, high = Signals(0.1, 0.0, -1.5), Signals(0.8, 1.0, 0.0)
    assert fitted.probability(low) < 0.05 < 0.9 < fitted.probability(high)
    assert LIKELY.probability(Signals(0, 0, -1e9)) < 1e-9
    assert calibration_for("gpt-5", "all-MiniLM-L6-v2") is None


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch, generator: ScriptedGenerator) -> list[float]:
    """What the model prefers, to be changed by the test."""
    preference = [3.0]

    def heard(*_: object) -> tuple[float, Finished]:
        return preference[0], Finished("length", Usage(7, 1))

    monkeypatch.setattr("search.generating.ask", heard)
    monkeypatch.setitem(answerability.CALIBRATED, (generator.model_name, "all-MiniLM-L6-v2"), LIKELY)
    return preference


@pytest.mark.django_db
def test_what_is_unlikely_to_be_there_is_refused_before_anything_is_written(
    acme: Organization,
    models: Runtime,
    library: Library,
    generator: ScriptedGenerator,
    calibrated: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    done = end(ask(acme, models))
    assert done.status == "answered"
    assert [CHECK in prompt for prompt in generator.prompts] == [True, False]
    before, after = (prompt.rpartition("\n\n")[0] for prompt in generator.prompts)
    assert "Passage [" in before
    assert before == after, "the answer finds the passages in the prefix cache"
    assert done.usage.prompt_tokens == 7 + len(generator.prompts[1])

    generator.prompts.clear()
    calibrated[0] = -3.0
    events = ask(acme, models)
    assert (end(events).status, end(events).answer, end(events).usage.prompt_tokens) == (
        "not_found",
        NOT_IN_DOCUMENTS,
        7,
    )
    assert len(generator.prompts) == 1
    assert any(isinstance(event, SourcesFound) and event.sources for event in events)

    monkeypatch.setattr(env(), "refuse_below", 0.0)
    generator.prompts.clear()
    assert end(ask(acme, models)).status == "answered"
    assert not any(CHECK in prompt for prompt in generator.prompts)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "error", [InvalidRequest("no logprobs"), NotReady("away"), Overloaded("busy", retry_after_s=1)]
)
def test_a_model_that_cannot_be_asked_answers_all_the_same(
    acme: Organization,
    models: Runtime,
    library: Library,
    generator: ScriptedGenerator,
    calibrated: list[float],
    monkeypatch: pytest.MonkeyPatch,
    error: InferenceError,
) -> None:
    generator.reply = "The monthly tariff is 20 euros."
    submit = generator.submit

    def refuses_likelihoods(prompt: PromptTokens, params: SamplingParams, **more: Any) -> Any:
        if params.logprobs is not None:
            raise error
        return submit(prompt, params, **more)

    monkeypatch.setattr(generator, "submit", refuses_likelihoods)
    assert end(ask(acme, models)).status == "answered"


def test_without_likelihoods_nothing_is_said() -> None:
    events = [Delta("x", (OTHER,)), Finished("length", Usage(1, 1))]
    assert answerability.ask(Speller(), iter(events))[0] is None  # type: ignore[arg-type]
