"""Metrics under vLLM's names: each request is counted once in each of its histograms, and what waits is seen waiting."""

from __future__ import annotations

from typing import Literal

import pytest

from config.samples import labelled, quantile
from inference.engine.engine import Engine
from inference.engine.metrics import exposition, sample
from inference.request import PromptTokens, SamplingParams
from tests.engine.tiny import ACME, GLOBEX, TinyCheckpoint, make_config


class Clock:
    """A second passes with every look."""

    now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def engine(llama: TinyCheckpoint) -> Engine:
    return Engine(make_config(price_per_hour=3.6), llama, clock=Clock())


def run(engine: Engine) -> None:
    for length, share in ((5, ACME), (9, GLOBEX)):
        engine.submit(
            PromptTokens(tuple(range(length))), SamplingParams(max_tokens=4, ignore_eos=True), share=share
        )
    while engine.has_work:
        engine.step()


def test_a_request_is_counted_once_in_each_histogram(engine: Engine) -> None:
    run(engine)
    aborted = engine.submit(PromptTokens((1, 2)), SamplingParams(), share=ACME)
    aborted.abort()
    engine.step()
    values = engine.metrics()
    counts = {name: values[f"{name}_count"] for name in HISTOGRAMS}
    assert counts == {
        "time_to_first_token_seconds": 2,
        "inter_token_latency_seconds": 6,
        "e2e_request_latency_seconds": 3,
        "request_queue_time_seconds": 3,
        "request_prefill_time_seconds": 2,
        "request_decode_time_seconds": 2,
        "request_prompt_tokens": 2,
        "request_generation_tokens": 2,
    }
    assert values["request_prompt_tokens_sum"] == 14
    assert values["request_generation_tokens_sum"] == 8
    for name in HISTOGRAMS:
        assert values[f'{name}_bucket{{le="+Inf"}}'] == counts[name]
    whole = values["request_prefill_time_seconds_sum"] + values["request_queue_time_seconds_sum"]
    assert values["time_to_first_token_seconds_sum"] <= whole, "queue and prefill are all of it"


def test_prometheus_reads_them_under_vllms_names(engine: Engine) -> None:
    run(engine)
    values = engine.metrics()
    text = exposition(values, 'a "model"')
    for name in HISTOGRAMS:
        assert text.count(f"# TYPE vllm:{name} histogram\n") == 1
    for name in ("num_requests_running", "kv_cache_usage_perc"):
        assert f"# TYPE vllm:{name} gauge\n" in text
    assert "# TYPE vllm:prefix_cache_hits_total counter\n" in text
    assert "# TYPE tessera:queued_tokens gauge\n" in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all('{model_name="a \\"model\\""' in line for line in samples)
    assert sorted(float(line.rsplit(" ", 1)[1]) for line in samples) == pytest.approx(sorted(values.values()))


def test_what_waits_is_a_sign_to_scale_out(engine: Engine) -> None:
    assert engine.metrics()["queued_tokens"] == 0
    engine.submit(PromptTokens((1,) * 300), SamplingParams(max_tokens=50), share=ACME)
    engine.submit(PromptTokens((2,) * 300), SamplingParams(max_tokens=50), share=GLOBEX)
    assert engine.metrics()["queued_tokens"] == 700
    engine.step()  # one is admitted, whose prompt takes the whole budget of the step
    values = engine.metrics()
    assert (values["num_requests_running"], values["num_requests_waiting"]) == (1, 1)
    assert values["queued_tokens"] == 350
    assert values["oldest_waiting_seconds"] > 0
    while engine.metrics()["num_requests_waiting"]:
        engine.step()
    assert engine.metrics()["oldest_waiting_seconds"] == 0, "one that runs is not waiting"


def test_shares_show_their_service(engine: Engine) -> None:
    run(engine)
    served = {
        labels["share"]: cost for labels, cost in labelled(engine.metrics(), "share_service_tokens_total")
    }
    assert served == {"acme": 5 + 2 * 4, "globex": 9 + 2 * 4}
    assert engine.metrics()["share_service_gap_tokens"] == 0


def test_a_million_tokens_cost_the_time_that_they_take(engine: Engine, llama: TinyCheckpoint) -> None:
    run(engine)
    values = engine.metrics()
    cost = values['cost_per_million_tokens{format="fp32"}']
    assert cost == pytest.approx(
        3.6 / 3600 * values["step_seconds_total"] / values["computed_tokens_total"] * 1e6
    )
    assert not labelled(Engine(make_config(), llama).metrics(), "cost_per_million_tokens")


def test_quantiles_are_those_of_prometheus() -> None:
    values = {sample("x_bucket", le=le): n for le, n in (("1.0", 2.0), ("2.0", 6.0), ("+Inf", 8.0))}
    assert quantile(values, "x", 0.25) == pytest.approx(1.0)
    assert quantile(values, "x", 0.5) == pytest.approx(1.5)
    assert quantile(values, "x", 0.99) == 2.0
    assert quantile({}, "x", 0.5) is None
    assert quantile(dict.fromkeys(values, 0.0), "x", 0.5) is None


HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)


@pytest.mark.parametrize(("kept", "vector"), [("auto", 4 * 16), ("int8", 16 + 4)])
def test_the_cache_says_what_it_takes(
    llama: TinyCheckpoint, kept: Literal["auto", "int8"], vector: int
) -> None:
    """4,096 tokens in three layers of two heads of 16 dimensions, by torch."""
    metrics = Engine(make_config(kv_cache_format=kept), llama).metrics()
    assert metrics["kv_cache_bytes"] == 4096 * 2 * 3 * 2 * vector
    assert any(name.startswith("engine_info") and f'kv_cache="{kept}"' in name for name in metrics)
