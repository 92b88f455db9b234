"""The JSON of documents: what an upload may say, and what is answered."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ingestion.pace import Queue
from ingestion.passwords import LONGEST as LONGEST_PASSWORD
from ingestion.progress import DocumentRow
from ingestion.uploads import LONGEST_EXTERNAL_ID

STATUSES = ["queued", "processing", "ready", "failed"]
STAGES = ["queued", "parsing", "embedding", "indexing", "done"]


class PasswordField(serializers.CharField):
    """The password of a protected file, taken as it is and never answered."""

    def __init__(self, *, help_text: str) -> None:
        super().__init__(
            required=False, allow_blank=True, write_only=True, trim_whitespace=False,
            max_length=LONGEST_PASSWORD, help_text=help_text,
        )  # fmt: skip


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
    title = serializers.CharField(
        required=False, max_length=500, help_text="Default: the title that the file has, else its name."
    )
    password = PasswordField(help_text="Opens a protected file. Kept, encrypted, until the file is read.")


class RetrySerializer(serializers.Serializer[Any]):
    """What a retry may bring."""

    password = PasswordField(help_text="Opens a file that failed as `encrypted`.")


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
    author = serializers.CharField(help_text="As the file names it; empty where it names none.")
    dated = serializers.DateField(allow_null=True, help_text="The date that the file gives.")
    language = serializers.CharField(help_text="ISO 639-1 code, told from the text; empty when unknown.")
    page_count = serializers.IntegerField()
    pages_without_text = serializers.ListField(child=serializers.IntegerField())
    pages_by_ocr = serializers.ListField(
        child=serializers.IntegerField(), help_text="Pages whose text was recognised in their picture."
    )
    pages_with_hidden_text = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Pages of which text was left out that their readers do not see (white on white, off the page, next to no size).",
    )
    created_at = serializers.DateTimeField()
    external_id = serializers.CharField(help_text="Your id of the document; empty where you gave none.")
    rate = serializers.FloatField(
        allow_null=True, help_text="Pages or passages of the stage a second; null until it was measured."
    )
    eta_seconds = serializers.IntegerField(
        allow_null=True, help_text="Until it is ready; null while nothing tells."
    )

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, row: DocumentRow) -> dict[str, int]:
        return {"done": row.done, "total": row.total}

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_error(self, row: DocumentRow) -> dict[str, str] | None:
        if not row.error_code:
            return None
        return {"code": row.error_code, "message": row.error_message, "remedy": row.error_remedy}


class QueueSerializer(serializers.Serializer[Queue]):
    """The files of the organisation that are not ready yet."""

    waiting = serializers.IntegerField()
    processing = serializers.IntegerField()
    files_per_minute = serializers.FloatField(allow_null=True, help_text="null until it was measured.")
    eta_seconds = serializers.IntegerField(allow_null=True, help_text="Until all are ready; null: unknown.")
    oldest_waiting_seconds = serializers.IntegerField(allow_null=True)


class ArchiveSerializer(serializers.Serializer[Any]):
    """A multipart upload of a zip."""

    file = serializers.FileField(help_text="A zip of documents, 1000 at most.", allow_empty_file=True)
    external_id = serializers.CharField(
        required=False,
        max_length=LONGEST_EXTERNAL_ID,
        help_text="Begins the external_id of each member: `external_id/path in the zip`.",
    )
    collection = serializers.UUIDField(required=False, help_text="Id of a collection. Default: General.")


class AcceptedSerializer(serializers.Serializer[Any]):
    """A member of a zip that is a document now."""

    name = serializers.CharField()
    id = serializers.UUIDField(source="document_id")


class RefusedSerializer(serializers.Serializer[Any]):
    """A member of a zip that is none, and why."""

    name = serializers.CharField()
    error = FailureSerializer(source="*")


class BundleSerializer(serializers.Serializer[Any]):
    """What became of a zip."""

    accepted = AcceptedSerializer(many=True)
    refused = RefusedSerializer(many=True)
