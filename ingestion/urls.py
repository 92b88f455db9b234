"""The routes of documents under ``/o/<slug>/``."""

from __future__ import annotations

from django.urls import path

from ingestion import changes, views

urlpatterns = [
    path("documents/", views.documents, name="documents"),
    path("documents/upload", changes.upload, name="document-upload"),
    path("documents/queue", views.queue, name="document-queue"),
    path("documents/<uuid:document_id>/", views.document_page, name="document"),
    path("documents/<uuid:document_id>/row", views.document_row, name="document-row"),
    path("documents/<uuid:document_id>/file", views.document_file, name="document-file"),
    path("documents/<uuid:document_id>/delete", changes.delete, name="document-delete"),
    path("documents/<uuid:document_id>/retry", changes.retry, name="document-retry"),
    path("documents/<uuid:document_id>/cancel", changes.cancel, name="document-cancel"),
    path("documents/<uuid:document_id>/replace", changes.replace, name="document-replace"),
    path("documents/<uuid:document_id>/pages/<int:page>.png", views.page_image, name="page-image"),
]
