"""Requests generated from the OpenAPI schema, sent as charlie: never a 5xx, and nothing of acme in any body.

The schema is what the product serves; the requests go to the WSGI application in this process, against real rows, the real
index and the real embedder. The language model is scripted, since its words are not the subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import HealthCheck, Phase, settings

from inference import runtime
from ingestion import tasks
from ingestion.uploads import accept_upload
from search.index import opening
from search.models import Collection, Conversation, Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.search.doubles import ScriptedGenerator

CANARY = "zebrafish-4417-canary"


@pytest.fixture
def canary(acme: Organization, alice: Any, embedder: Any) -> Iterator[list[str]]:
    """A ready document of acme; yields every id and text that must never be seen by charlie."""
    runtime.install(
        runtime.Runtime.of(generator=ScriptedGenerator("The documents say so [1]."), embedder=embedder)
    )
    document = accept_upload(
        organization=acme,
        user=alice,
        name=f"{CANARY}.md",
        stream=SimpleUploadedFile("a.md", f"# Secret\n\nThe code word is {CANARY}.\n".encode()),
    )
    tasks.wake_up()
    with tenant_scope(acme):
        conversation = Conversation.objects.create(user=alice, title=CANARY)
        ids = [str(document.id), str(conversation.id), str(Collection.objects.get().id)]
        assert Document.objects.get().published is not None
    yield [CANARY, *ids]
    opening.close_all()
    runtime.uninstall()


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_no_generated_request_fails_or_shows_another_organisation(
    transactional_db: None,
    globex: Organization,
    charlie: Any,
    canary: list[str],
    make_key: Callable[..., str],
    client: Client,
) -> None:
    key = make_key(globex, "read", "write", created_by=charlie)
    application = get_wsgi_application()
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    seen: dict[str, int] = {}

    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]

        @settings(
            max_examples=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @schemathesis_given(operation, canary[1:])
        def send(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {key}"})
            label = f"{case.method} {case.path}"
            seen[label] = seen.get(label, 0) + 1
            assert response.status_code < 500, (
                f"{case.as_curl_command()} -> {response.status_code} {response.text[:500]}"
            )
            asked = f"{case.path_parameters} {case.query} {case.body}"
            for secret in canary:
                assert secret in asked or secret not in response.text, f"{label} shows {secret}"

        send()

    assert len(seen) >= 8, seen
    assert min(seen.values()) >= 1


def schemathesis_given(
    operation: Any, ids: list[str]
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Generated cases of one operation; half of those with an id in the path aim at acme's rows."""
    from hypothesis import given
    from hypothesis import strategies as st

    def aim(case: Any, target: str | None) -> Any:
        if target is not None and case.path_parameters:
            case.path_parameters = dict.fromkeys(case.path_parameters, target)
        return case

    cases = st.builds(aim, operation.as_strategy(), st.one_of(st.none(), st.sampled_from(ids)))
    decorated: Callable[[Callable[[Any], None]], Callable[[], None]] = given(case=cases)
    return decorated
