"""The JSON of documents: what an upload may say, and what is answered."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ingestion.progress import DocumentRow
from ingestion.uploads import LONGEST_EXTERNAL_ID

STATUSES = ["queued", "processing", "ready", "failed"]
STAGES = ["queued", "parsing", "embedding", "indexing", "done"]


class UploadSerializer(serializers.Serializer[Any]):
    """A multipart upload."""

    file = serializers.FileField(
        help_text="The file. Its type is found from its content.", allow_empty_file=True
    )
    external_id = serializers.CharField(
        required=False,
        max_length=LONGEST_EXTERNAL_ID,
        help_text="Your id of the document. Known already: the file becomes its new version.",
    )
    collection = serializers.UUIDField(required=False, help_text="Id of a collection. Default: General.")
    title = serializers.CharField(required=False, max_length=500, help_text="Default: the file's name.")


class ProgressSerializer(serializers.Serializer[Any]):
    """``done`` of ``total`` pages or passages of the stage."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()


class FailureSerializer(serializers.Serializer[Any]):
    """Why a file could not be taken in, and what to do."""

    code = serializers.CharField()
    message = serializers.CharField()
    remedy = serializers.CharField()


class DocumentSerializer(serializers.Serializer[DocumentRow]):
    """A document and how far it is."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    filename = serializers.CharField()
    media_type = serializers.CharField()
    collection = serializers.CharField()
    status = serializers.ChoiceField(STATUSES)
    stage = serializers.ChoiceField(STAGES)
    progress = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    pages_without_text = serializers.ListField(child=serializers.IntegerField())
    created_at = serializers.DateTimeField()

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, row: DocumentRow) -> dict[str, int]:
        return {"done": row.done, "total": row.total}

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_error(self, row: DocumentRow) -> dict[str, str] | None:
        if not row.error_code:
            return None
        return {"code": row.error_code, "message": row.error_message, "remedy": row.error_remedy}
