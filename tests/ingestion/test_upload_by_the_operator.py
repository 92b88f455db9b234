"""The operator uploads, deletes and retries in Django's admin, through the same functions as everybody."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from ingestion import jobs
from search.models import Document
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import POLICY, Clock, job_of, upload
from tests.ingestion.ready_for_work import storage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage")]
__all__ = ["storage"]


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(
        User.objects.create_superuser("operator"), backend="django.contrib.auth.backends.ModelBackend"
    )
    return client


def test_a_file_goes_to_the_chosen_organisation(
    acme: Organization, globex: Organization, operator: Client
) -> None:
    add = reverse("admin:search_document_add")
    assert operator.get(add).status_code == 200
    fields = {"organization": globex.pk, "file": SimpleUploadedFile("policy.md", POLICY)}
    assert operator.post(add, fields).status_code == 302
    with tenant_scope(globex):
        assert Document.objects.get().title == "policy.md"
    with tenant_scope(acme):
        assert not Document.objects.exists()


def test_a_refused_file_says_why(acme: Organization, operator: Client) -> None:
    fields = {"organization": acme.pk, "file": SimpleUploadedFile("x.pdf", b"MZ" + b"\x90" * 99)}
    response = operator.post(reverse("admin:search_document_add"), fields)
    assert response.status_code == 400
    assert "cannot be read" in response.content.decode()


def test_the_lists_show_all_organisations_and_act(
    acme: Organization, globex: Organization, operator: Client
) -> None:
    ours, theirs = upload(acme, "ours.md"), upload(globex, "theirs.md")
    documents = reverse("admin:search_document_changelist")
    page = operator.get(documents).content.decode()
    assert "ours.md" in page
    assert "theirs.md" in page
    assert operator.get(reverse("admin:search_document_change", args=[ours.id])).status_code == 200
    operator.post(documents, {"action": "delete_documents", "_selected_action": [str(theirs.id)]})
    with tenant_scope(globex):
        assert not Document.objects.exists()
    lease = jobs.claim(clock=Clock())
    assert lease is not None
    lease.fail(code="encrypted", message="Protected.", remedy="Remove the password.")
    table = reverse("admin:ingestion_ingestionjob_changelist")
    assert "encrypted" in operator.get(table).content.decode()
    shown = operator.get(reverse("admin:ingestion_ingestionjob_change", args=[lease.job_id])).content.decode()
    assert "Protected." in shown
    assert "Sealed password" not in shown
    assert "Lease token" not in shown
    operator.post(table, {"action": "retry_jobs", "_selected_action": [str(lease.job_id)]})
    assert job_of(acme, ours).status == "queued"


def test_nobody_else_reaches_it(acme: Organization, alice_client: Client) -> None:
    document = upload(acme)
    for name in ("search_document", "ingestion_ingestionjob"):
        listing = reverse(f"admin:{name}_changelist")
        assert alice_client.get(listing).status_code == 302
        assert alice_client.post(listing, {"action": "delete_documents"}).status_code == 302
    with tenant_scope(acme):
        assert Document.objects.filter(id=document.id).exists()
