"""Servers and routes come from two settings; a mistake in them is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config.checks import findings
from config.env import Env
from inference.errors import InvalidRequest
from inference.routes import Remote, Route, parse_remotes, parse_routes


@pytest.fixture
def big(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "key").write_text("a-key\n")
    (tmp_path / "model.gguf").touch()
    return {
        "url": "https://vllm.internal/",
        "tokenizer": str(tmp_path / "model.gguf"),
        "api_key_file": str(tmp_path / "key"),
    }


def test_names_are_given_their_backends_in_order(big: dict[str, Any]) -> None:
    remotes = parse_remotes(json.dumps({"big": {**big, "model": "Qwen/Qwen2.5-72B", "max_running": 8}}))
    assert [(remote.name, remote.model, remote.max_running) for remote in remotes] == [
        ("big", "Qwen/Qwen2.5-72B", 8)
    ]
    assert remotes[0].key == "a-key"
    assert parse_routes("answers = big, engine;\n code=engine ;", remotes) == (
        Route("answers", ("big", "engine")),
        Route("code", ("engine",)),
    )
    assert parse_routes("", ()) == ()


def test_a_key_is_not_shown() -> None:
    assert "geheim" not in repr(Remote("big", "https://a", api_key="geheim"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "vllm.internal"}, "needs a url"),
        ({"url": "https://user:pw@host"}, "without a user or a password"),
        ({"url": None}, "has a url that is not a string"),
        ({"urls": "https://b"}, "unknown field 'urls'"),
        ({"max_running": 0}, "not above 0"),
        ({"max_running": True}, "not a whole number"),
        ({"prefix_cache_off": "yes"}, "not true or false"),
        ({"tokenizer": ""}, "control tokens"),
        ({"tokenizer": "/nowhere.gguf"}, "not there"),
        ({"api_key_file": "/nowhere"}, "not there"),
        ({"server": "sglang"}, "prefix caches of organisations apart"),
    ],
)
def test_a_server_that_cannot_be_used_is_a_sentence(
    big: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse_remotes(json.dumps({"big": big | change}))


def test_a_stranger_may_be_used_where_its_cache_is_said_to_be_off(big: dict[str, Any]) -> None:
    server = big | {"server": "sglang", "prefix_cache_off": True}
    assert parse_remotes(json.dumps({"big": server}))[0].prefix_cache_off
    assert parse_remotes('{"far": {"url": "http://inference:8001", "server": "tessera"}}')[0].tokenizer == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"big": 1}', '{"engine": {"url": "https://a"}}', '{"big": {}}'])
def test_what_is_no_description_is_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRequest, match="TESSERA_REMOTES"):
        parse_remotes(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("answers", "form"),
        ("answers =", "form"),
        ("answers = big,, engine", "form"),
        ("answers = big, big", "twice"),
        ("answers = big; answers = engine", "twice"),
        ("answers = bgi", "no backend 'bgi'"),
        ("answers = engine", "no route leads to big"),
    ],
)
def test_a_route_that_leads_nowhere_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse_routes(text, (Remote("big", "https://a"),))


def test_the_product_refuses_wrong_routes_at_start() -> None:
    assert [f.id for f in findings(Env(routes="answers = engine"))] == []
    found = list(findings(Env(routes="answers = big")))
    assert [f.id for f in found] == ["tessera.E003"]
    assert "TESSERA_REMOTES" in (found[0].hint or "")
