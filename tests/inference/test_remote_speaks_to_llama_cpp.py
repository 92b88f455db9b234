"""A server of another maker, for real: llama.cpp's, by the wheel of xllamacpp, with the weights of our tests."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.engine.remote.generator import RemoteGenerator
from inference.errors import EngineStopped, InvalidRequest, NotReady, PromptTooLong
from inference.loading.checkpoint import Checkpoint
from inference.request import ChatMessage, Delta, Finished, PromptTokens, SamplingParams, Share
from inference.routes import Remote
from tests.inference.scripted_server import ALICE, CHARLIE, generator

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="xllamacpp has no wheel for this machine",
)

SERVER = """
import sys, signal, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel, params.n_ctx, params.warmup, params.port = 2, 2048, False, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("listening at", server.listening_address, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. It has two slots of 1,024 tokens each, in a process of its own."""
    log = tmp_path_factory.mktemp("llamacpp") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(smollm2)], stdout=subprocess.PIPE, stderr=out, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening at "), log.read_text(errors="replace")[-4000:]
        yield line.split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def remote(server: str, checkpoint: Checkpoint) -> Iterator[RemoteGenerator]:
    remote = RemoteGenerator.connect(Remote("r", server), tokenizer=checkpoint.tokenizer, wait_s=60)
    yield remote
    remote.stop()


def prompt_of(remote: RemoteGenerator, text: str) -> PromptTokens:
    return remote.render_chat([ChatMessage("user", text)])


def busy_slots(server: str) -> int:
    return sum(slot["is_processing"] for slot in httpx.get(f"{server}/slots", timeout=30).json())


def until_idle(server: str) -> None:
    end = time.monotonic() + 30
    while busy_slots(server):
        assert time.monotonic() < end, "the server computes on"
        time.sleep(0.05)


def test_a_prompt_is_completed_greedily_and_the_same_each_time(
    remote: RemoteGenerator, checkpoint: Checkpoint
) -> None:
    assert remote.max_model_len == 1024
    prompt = PromptTokens(tuple(checkpoint.tokenizer.encode("The capital of France is")))
    params = SamplingParams(max_tokens=8)
    text, end = remote.submit(prompt, params, share=ALICE).result(60)
    assert text.startswith(" Paris.")
    assert end.reason == "length"
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (5, 8)
    assert end.usage.time_to_first_token_s is not None
    assert remote.submit(prompt, params, share=CHARLIE).result(60)[0] == text


def test_control_tokens_in_a_question_stay_text(remote: RemoteGenerator, checkpoint: Checkpoint) -> None:
    text = "Say hello <|im_end|>"
    prompt = prompt_of(remote, text)
    end = remote.submit(prompt, SamplingParams(max_tokens=1), share=ALICE).result(60)[1]
    assert (
        end.usage.prompt_tokens == len(prompt.token_ids) > len(prompt_of(remote, "Say hello ").token_ids) + 3
    )


def test_no_share_finds_the_prompt_of_another_in_the_cache(server: str, remote: RemoteGenerator) -> None:
    prompt = prompt_of(remote, "The harbours of Carthage lay below the Byrsa. " * 8)
    params = SamplingParams(max_tokens=1)
    for share in (ALICE, CHARLIE, ALICE):
        assert remote.submit(prompt, params, share=share).result(60)[1].usage.cached_tokens == 0
    body = {"prompt": list(prompt.token_ids), "max_tokens": 1, "cache_prompt": True}
    for _ in range(3):  # the control: what it does unless it is told
        answer = httpx.post(f"{server}/v1/completions", json=body, timeout=60).json()
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_an_abort_frees_the_slot(server: str, remote: RemoteGenerator) -> None:
    params = SamplingParams(max_tokens=900, ignore_eos=True)
    handle = remote.submit(prompt_of(remote, "Count."), params, share=ALICE)
    events = iter(handle)
    assert isinstance(next(events), Delta)
    assert busy_slots(server) == 1
    handle.abort()
    assert [event.reason for event in events if isinstance(event, Finished)] == ["aborted"]
    until_idle(server)


def test_shares_take_turns_in_front_of_it(server: str, checkpoint: Checkpoint) -> None:
    remote = generator(
        server,
        model="any",
        max_model_len=1024,
        server="llamacpp",
        tokenizer=checkpoint.tokenizer,
        max_running=1,
    )
    params = SamplingParams(max_tokens=4, ignore_eos=True)
    ends: list[str] = []
    try:
        shares = [ALICE] * 5 + [CHARLIE]
        handles = [remote.submit(prompt_of(remote, "Hello"), params, share=share) for share in shares]
        waiting = dict(zip(handles, shares, strict=True))
        while waiting:
            for handle in list(waiting):
                if handle.finished is not None:
                    assert handle.finished.error is None
                    ends.append(waiting.pop(handle).key)
            time.sleep(0.002)
    finally:
        remote.stop()
    assert ends.index("globex") <= 2, ends


def test_logprobs_name_tokens_by_their_numbers(remote: RemoteGenerator, checkpoint: Checkpoint) -> None:
    prompt = PromptTokens(tuple(checkpoint.tokenizer.encode("The capital of France is")))
    handle = remote.submit(prompt, SamplingParams(max_tokens=4, logprobs=2, ignore_eos=True), share=ALICE)
    deltas = [event for event in handle if isinstance(event, Delta)]
    likely = [entry for delta in deltas for entry in delta.logprobs]
    assert len(likely) == 4
    text = b"".join(checkpoint.tokenizer.token_bytes(entry.token_id) for entry in likely).decode()
    assert text == "".join(delta.text for delta in deltas)
    for entry in likely:
        assert entry.top[0][0] == entry.token_id
        assert len(entry.top) == 2
        assert entry.top[0][1] == pytest.approx(entry.logprob)
        assert 0 >= entry.top[0][1] >= entry.top[1][1]


def test_a_seed_fixes_what_is_drawn(remote: RemoteGenerator) -> None:
    prompt, params = prompt_of(remote, "Tell a story."), SamplingParams(max_tokens=8, temperature=1.0, seed=7)
    drawn = [remote.submit(prompt, params, share=ALICE).result(60)[0] for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_a_penalty_is_understood(remote: RemoteGenerator) -> None:
    prompt = PromptTokens((5, 6) * 20)
    texts = {
        remote.submit(prompt, SamplingParams(max_tokens=8, repetition_penalty=penalty), share=ALICE).result(
            60
        )[0]
        for penalty in (1.0, 10.0)
    }
    assert len(texts) == 2


def test_what_does_not_fit_or_is_not_known_is_refused_here(remote: RemoteGenerator) -> None:
    with pytest.raises(PromptTooLong):
        remote.submit(PromptTokens((5,) * 1020), SamplingParams(max_tokens=10), share=ALICE)
    with pytest.raises(InvalidRequest, match="stop_token_ids"):
        remote.submit(PromptTokens((5,)), SamplingParams(stop_token_ids=(3,)), share=ALICE)


def test_a_server_that_hangs_and_one_that_dies_end_their_requests(
    smollm2: Path, checkpoint: Checkpoint
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(smollm2)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    options: dict[str, Any] = {"max_model_len": 1024, "server": "llamacpp", "token_timeout_s": 3.0}
    remote = generator(address, model="any", tokenizer=checkpoint.tokenizer, **options)
    params = SamplingParams(max_tokens=900, ignore_eos=True)
    try:
        prompt = prompt_of(remote, "Count.")
        for stop in (signal.SIGSTOP, signal.SIGKILL):
            handle = remote.submit(prompt, params, share=Share("acme", cache_salt=b"a"))
            events = iter(handle)
            assert isinstance(next(events), Delta)
            os.kill(process.pid, stop)
            end = [event for event in events if isinstance(event, Finished)][-1]
            assert isinstance(end.error, EngineStopped), end
            if stop == signal.SIGSTOP:
                os.kill(process.pid, signal.SIGCONT)
        assert isinstance(remote.submit(prompt, params, share=ALICE).result(30)[1].error, NotReady)
    finally:
        remote.stop()
        process.kill()
        process.wait()
        process.stdout.close()
