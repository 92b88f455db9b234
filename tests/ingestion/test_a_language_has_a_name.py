"""A document's page names its language, and shows the code of a language that has no name there."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from ingestion import pipeline
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload
from tests.ingestion.ready_for_work import models, storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage", "models")]
__all__ = ["models", "storage"]


@pytest.mark.parametrize(("code", "shown"), [("de", "German"), ("la", "la"), ("", None)])
def test_the_language_on_the_page(
    acme: Organization, alice_client: Client, code: str, shown: str | None
) -> None:
    document = upload(acme)
    pipeline.work_until_idle()
    with tenant_scope(acme):
        DocumentVersion.objects.update(language=code)
    page = alice_client.get(reverse("document", args=["acme", document.id])).content.decode()
    assert (f"<dt>Language</dt><dd>{shown}</dd>" in page) if shown else ("<dt>Language</dt>" not in page)
