"""The routes of documents under ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from ingestion import api

urlpatterns = [
    path("documents", api.Documents.as_view(), name="api-documents"),
    path("documents/archive", api.Archives.as_view(), name="api-archives"),
    path("documents/queue", api.DocumentQueue.as_view(), name="api-queue"),
    path("documents/<uuid:document_id>", api.DocumentDetail.as_view(), name="api-document"),
    path("documents/<uuid:document_id>/retry", api.DocumentRetry.as_view(), name="api-document-retry"),
    path("documents/<uuid:document_id>/cancel", api.DocumentCancel.as_view(), name="api-document-cancel"),
]
