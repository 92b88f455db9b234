"""The operator's page and ``/metrics``: who may read them, what they say of an engine at work, and what they never say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from inference import runtime
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import ChatMessage, Delta, SamplingParams, Share
from inference.runtime import Runtime
from search.generating import share_of
from tenants.models import Organization
from tests.engine.tiny import letters, make_checkpoint, make_config

pytestmark = pytest.mark.django_db

KEY = "a-key-for-monitoring"
CANARY = letters([9, 7, 5, 3, 9, 7, 5, 3])


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine.start(make_config(kv_cache_tokens=1024, max_model_len=1024), make_checkpoint("llama"))
    yield engine
    engine.stop()


@pytest.fixture
def at_work(acme: Organization, engine: Engine) -> Iterator[Share]:
    """The share of acme, whose question is being answered at length."""
    runtime.install(Runtime.of(engine))
    share = share_of(acme)
    prompt = engine.render_chat([ChatMessage("user", CANARY)])
    handle: RequestHandle = engine.submit(
        prompt, SamplingParams(max_tokens=1000, ignore_eos=True), share=share
    )
    events = iter(handle)
    assert isinstance(next(events), Delta)
    yield share
    handle.abort()
    runtime.uninstall()


@pytest.fixture
def operator(signed_in: Any) -> Client:
    client: Client = signed_in(User.objects.create_superuser("operator"))
    return client


def with_key(key: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {key}"})


def test_metrics_are_for_the_key_and_the_operator(
    settings: Any, at_work: Share, operator: Client, alice_client: Client, api: Any, acme: Organization
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_key": KEY})
    for client in (Client(), alice_client, with_key("wrong"), with_key(""), api(acme, "admin")):
        response = client.get("/metrics")
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert b"vllm" not in response.content
    for client in (with_key(KEY), operator):
        response = client.get("/metrics")
        assert response.status_code == 200
        assert "# TYPE vllm:time_to_first_token_seconds histogram" in response.content.decode()
        assert 'tessera:models_ready{model_name="tiny"} 1.0' in response.content.decode()


def test_without_a_key_in_the_settings_no_key_opens(at_work: Share, operator: Client) -> None:
    for key in ("", "None", KEY):
        assert with_key(key).get("/metrics").status_code == 401
    assert operator.get("/metrics").status_code == 200


def test_metrics_answer_while_nothing_is_loaded(operator: Client) -> None:
    runtime.uninstall()
    assert "tessera:models_ready" in operator.get("/metrics").content.decode()
    page = operator.get("/admin/engine/").content.decode()
    assert "No models were asked for" in page


def test_the_page_shows_the_request_under_way_and_whose_it_is(at_work: Share, operator: Client) -> None:
    page = operator.get("/admin/engine/")
    text = page.content.decode()
    assert page["Cache-Control"] == "no-store"
    assert "Acme" in text
    assert "decode" in text
    assert "First token" in text
    assert "Nobody asks" not in text


def test_the_page_renews_itself_with_and_without_scripts(at_work: Share, operator: Client) -> None:
    text = operator.get("/admin/engine/").content.decode()
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text
    assert 'hx-get="/admin/engine/" hx-trigger="every 2s"' in text
    part = operator.get("/admin/engine/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "Requests now" in part
    assert "<script" not in part


def test_the_page_is_the_operators_alone(at_work: Share, alice_client: Client) -> None:
    for client in (Client(), alice_client):
        page = client.get("/admin/engine/")
        assert page.status_code == 302
        assert page["Location"].startswith("/admin/login/?next=/admin/engine/")
        part = client.get("/admin/engine/", headers={"HX-Request": "true"})
        assert (part.status_code, part["HX-Refresh"], part.content) == (204, "true", b"")
    assert "/admin/engine/" not in alice_client.get("/o/acme/settings/").content.decode()


def test_t42_neither_says_what_anybody_asked(at_work: Share, operator: Client) -> None:
    """Text, salt and key stay out; that the request is seen at all shows that this test can fail."""
    for path in ("/metrics", "/admin/engine/"):
        text = operator.get(path).content.decode()
        assert ("Acme" if path != "/metrics" else f'share="{at_work.key}"') in text
        assert CANARY not in text
        assert at_work.cache_salt.hex() not in text
        assert ", ".join(str(ord(char) - 0x100) for char in CANARY) not in text
