"""Models that will not load, and an engine that died: clients learn it at once, and recover when it is mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import runtime as runtimes
from inference.engine.engine import Engine
from inference.engine.remote.generator import RemoteGenerator
from inference.errors import EngineStopped, LoadingFailed, NotReady
from inference.remote_embedder import RemoteEmbedder
from inference.request import PromptTokens, SamplingParams, Share
from inference.routes import Remote
from inference.runtime import Runtime, RuntimeConfig, load, load_in_background
from inference.service import create_app
from tests.engine.tiny import EOS, TinyCheckpoint, make_config
from tests.inference.test_remote_equals_in_process import serving

KEY = "a-key-for-tests"


class Words:
    """Stands for an embedder: the service asks it for its sizes and its tokenizer alone."""

    name, dimension, max_tokens = "words", 3, 8

    @property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel

        return Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "did not happen within 15 s"
        time.sleep(0.02)


def failed_runtime(folder: Path) -> Runtime:
    runtime = Runtime()
    load(RuntimeConfig(models_dir=folder, fetch_missing=False), runtime)
    assert runtime.state == "failed"
    return runtime


def test_connecting_to_a_service_that_failed_ends_at_once(tmp_path: Path) -> None:
    with serving(create_app(failed_runtime(tmp_path), KEY)) as url:
        for connect in (RemoteGenerator.connect, RemoteEmbedder):
            started = time.monotonic()
            with pytest.raises(LoadingFailed, match="not in the cache"):
                connect(Remote("r", url, api_key=KEY), wait_s=20)
            assert time.monotonic() - started < 5
        answer = httpx.post(
            f"{url}/v1/completions", json={"prompt": [1]}, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading_failed")


def test_a_process_without_its_own_models_says_why_and_connects_once_that_is_mended(
    tmp_path: Path, llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "RETRY_FAILED_S", 0.1)
    app = create_app(failed_runtime(tmp_path), KEY)
    engine = Engine.start(make_config(), llama)
    with serving(app) as url:
        mine = load_in_background(RuntimeConfig(remote_url=url, remote_api_key=KEY))
        assert mine.wait(10) == "failed"
        assert "not in the cache" in mine.detail
        with pytest.raises(LoadingFailed, match="not in the cache"):
            _ = mine.generator
        app._runtime = Runtime.of(engine, Words())  # type: ignore[arg-type]
        until(lambda: mine.state == "ready")
        assert mine.generator.model_name == engine.model_name
        mine.stop()
        with pytest.raises(NotReady, match="stopped"):
            _ = mine.generator
    engine.stop()


def test_an_engine_that_died_is_seen_from_outside(
    llama: TinyCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.start(make_config(max_restarts=0), llama)
    runtime = Runtime.of(engine)
    with serving(create_app(runtime, KEY)) as url:
        remote = RemoteGenerator.connect(Remote("r", url, api_key=KEY))
        assert httpx.get(f"{url}/readyz").status_code == httpx.get(f"{url}/healthz").status_code == 200

        def broken() -> None:
            raise RuntimeError("a fault of the engine itself")

        monkeypatch.setattr(engine, "_expire", broken)
        share, params = Share("acme", cache_salt=b"a"), SamplingParams(max_tokens=4)
        end = remote.submit(PromptTokens((EOS - 1,)), params, share=share).result(10)[1]
        assert isinstance(end.error, EngineStopped)
        until(lambda: engine.health == "failed")
        with pytest.raises(EngineStopped):
            remote.submit(PromptTokens((EOS - 1,)), params, share=share)
        assert httpx.get(f"{url}/readyz").status_code == httpx.get(f"{url}/healthz").status_code == 503
        assert "restart" in httpx.get(f"{url}/readyz").json()["detail"]
        with pytest.raises(LoadingFailed):
            RemoteGenerator.connect(Remote("r", url, api_key=KEY), wait_s=20)
        remote.stop()


def test_an_engine_that_was_stopped_did_not_die(llama: TinyCheckpoint) -> None:
    engine = Engine.start(make_config(), llama)
    engine.stop()
    assert engine.health != "failed"
