from __future__ import annotations

import pytest

from inference.engine.engine import Engine
from inference.engine.output import OutputAssembler
from inference.errors import DeadlineExceeded
from inference.request import Delta, SamplingParams
from inference.sampling.stopping import StopMatcher
from tests.engine.tiny import (
    ACME,
    EOS,
    LetterStream,
    TinyCheckpoint,
    drive,
    greedy,
    letters,
    make_config,
    make_prompts,
    run,
    submit,
)

PROMPT = make_prompts(1, seed=4)[0]


@pytest.fixture(scope="module")
def full(llama: TinyCheckpoint) -> list[int]:
    return run(Engine(make_config(), llama), [PROMPT])[0]


@pytest.mark.parametrize(
    ("pieces", "stops", "shown", "stopped"),
    [
        (["hello ", "world"], (), "hello world", False),
        (["one ST", "OP two"], ("STOP",), "one ", True),
        (["one ST", "AY two"], ("STOP",), "one STAY two", False),
        (["aab", "aac"], ("aac",), "aab", True),
        (["x END y STOP"], ("STOP", "END"), "x ", True),
        (["a", "a", "a", "b"], ("aab",), "a", True),
        (["ends in S"], ("STOP",), "ends in S", False),
    ],
)
def test_text_up_to_the_first_stop_string_is_shown_once(
    pieces: list[str], stops: tuple[str, ...], shown: str, stopped: bool
) -> None:
    matcher = StopMatcher(stops)
    out = ""
    for piece in pieces:
        out += matcher.push(piece)
    assert matcher.stopped is stopped
    assert out + matcher.flush() == shown


def test_what_could_become_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(("STOP",))
    assert matcher.push("one STO") == "one "
    assert matcher.push("RY") == "STORY"


def test_a_stop_string_over_several_tokens_is_not_shown(llama: TinyCheckpoint, full: list[int]) -> None:
    engine = Engine(make_config(), llama)
    handle = submit(engine, PROMPT, greedy(24, stop=(letters(full[5:8]),)))
    drive(engine)
    text, end = handle.result(0)
    assert text == letters(full[:5])
    assert end.reason == "stop"
    assert end.usage.completion_tokens == 8


def test_an_end_token_ends_the_output_unless_it_is_ignored() -> None:
    for ignore, reasons in ((False, [None, "stop"]), (True, [None, None])):
        params = SamplingParams(max_tokens=9, ignore_eos=ignore)
        output = OutputAssembler(params, LetterStream(), frozenset({EOS}))
        assert [output.push(token)[1] for token in (3, EOS)] == reasons


def test_text_held_back_is_shown_when_the_length_ends_the_output() -> None:
    params = SamplingParams(max_tokens=2, stop=(letters([1, 2, 3]),))
    output = OutputAssembler(params, LetterStream(), frozenset())
    assert output.push(1) == (None, None)
    assert output.push(2) == (Delta(letters([1, 2]), (1, 2)), "length")


def test_a_deadline_ends_a_request_with_what_it_has(llama: TinyCheckpoint) -> None:
    now = [100.0]
    engine = Engine(make_config(), llama, clock=lambda: now[0])
    handle = engine.submit(PROMPT, greedy(), share=ACME, deadline_s=5.0)
    for _ in range(4):
        engine.step()
    now[0] += 6
    drive(engine)
    text, end = handle.result(0)
    assert len(text) == 4
    assert end.reason == "error"
    assert isinstance(end.error, DeadlineExceeded)
