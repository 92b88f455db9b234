"""What the API takes and gives for searching and asking; also the source of its OpenAPI schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from search.asking import LONGEST_QUESTION, unsupported_json
from search.conversations import TurnView
from search.filters import LONGEST_AUTHOR, LONGEST_LIST
from search.hits import Hit
from search.retrieval import Retrieval

MOST_RESULTS = 50


class QuestionField(serializers.CharField):
    """Text of a person: trimmed, 1 to 4000 characters, all of which can be stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=1, max_length=LONGEST_QUESTION, trim_whitespace=True, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and len(data) > 4 * LONGEST_QUESTION:
            raise serializers.ValidationError(f"At most {LONGEST_QUESTION} characters.")
        text: str = super().to_internal_value(data)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise serializers.ValidationError("Half a surrogate pair is not a character.") from error
        return text


class FiltersSerializer(serializers.Serializer[Any]):
    """Conditions of which all must hold; within a list, any."""

    media_types = serializers.ListField(
        child=serializers.CharField(max_length=200), max_length=LONGEST_LIST, required=False
    )
    collection_ids = serializers.ListField(
        child=serializers.UUIDField(), max_length=LONGEST_LIST, required=False
    )
    document_ids = serializers.ListField(
        child=serializers.UUIDField(), max_length=LONGEST_LIST, required=False
    )
    authors = serializers.ListField(
        child=serializers.CharField(max_length=LONGEST_AUTHOR),
        max_length=LONGEST_LIST,
        required=False,
        help_text="Whole names as the files have them, in any case.",
    )
    languages = serializers.ListField(
        child=serializers.CharField(max_length=8),
        max_length=LONGEST_LIST,
        required=False,
        help_text="ISO 639-1 codes.",
    )
    dated_from = serializers.DateField(required=False)
    dated_to = serializers.DateField(required=False)
    years = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=9999), max_length=LONGEST_LIST, required=False
    )

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            raise serializers.ValidationError({"filters": f"There are only {', '.join(self.fields)}."})
        return super().to_internal_value(data)


class SearchRequestSerializer(serializers.Serializer[Any]):
    query = QuestionField()
    limit = serializers.IntegerField(min_value=1, max_value=MOST_RESULTS, default=10)
    filters = FiltersSerializer(required=False)
    group_by = serializers.ChoiceField(
        ["document"],
        required=False,
        help_text="One result for each document: its best passage, with the next best in `more`. `limit` counts documents.",
    )
    as_typed = serializers.BooleanField(default=False, help_text="Leave the spelling of the query as it is.")


class DocumentReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()


class CopySerializer(serializers.Serializer[Any]):
    """Where the same passage, or nearly the same, stands in another document that may be read."""

    document = DocumentReferenceSerializer()
    place = serializers.CharField()


class PassageSerializer(serializers.Serializer[Any]):
    """A passage: its page's text from ``start`` to ``end``. ``score`` compares within one answer only."""

    page = serializers.IntegerField(
        help_text="From 1, for programs: together with `start` and `end` it names the place exactly."
    )
    is_paged = serializers.BooleanField(help_text="Whether a reader of the file sees the number `page`.")
    place = serializers.CharField(
        help_text="Where a reader finds it, in words: `page 7`, `Slide 4`, `Sheet Prices, rows 12–30`, or the path of headings "
        "`Travel › Hotels` in a file without pages; empty where only the title can be said."
    )
    text = serializers.CharField()
    score = serializers.FloatField()
    start = serializers.IntegerField()
    end = serializers.IntegerField()


class ResultSerializer(PassageSerializer):
    """A passage in its document."""

    document = DocumentReferenceSerializer()
    collection = serializers.CharField()
    also_in = CopySerializer(many=True, help_text="Other documents with nearly the same words.")
    more = PassageSerializer(
        many=True, help_text="With `group_by: document`, up to two further passages of the document."
    )


class SearchResponseSerializer(serializers.Serializer[Any]):
    results = ResultSerializer(many=True)
    corrected = serializers.CharField(
        allow_null=True,
        help_text="The query with misspelt words as your documents have them, which was searched for, too; null where none was.",
    )


def results_json(found: Retrieval) -> dict[str, Any]:
    """What :class:`SearchResponseSerializer` shows."""
    return {
        "results": [
            {
                **_passage(hit),
                "document": {"id": hit.document_id, "title": hit.title},
                "collection": hit.collection_name,
                "also_in": [
                    {"document": {"id": copy.document_id, "title": copy.title}, "place": copy.place}
                    for copy in hit.copied_in
                ],
                "more": [_passage(other) for other in hit.more],
            }
            for hit in found.hits
        ],
        "corrected": found.corrected or None,
    }


def _passage(hit: Hit) -> dict[str, Any]:
    return {
        "page": hit.page,
        "is_paged": hit.is_paged,
        "place": hit.place,
        "text": hit.text,
        "score": hit.score,
        "start": hit.start,
        "end": hit.end,
    }


class AnswerRequestSerializer(serializers.Serializer[Any]):
    question = QuestionField()
    conversation_id = serializers.UUIDField(required=False, allow_null=True)
    stream = serializers.BooleanField(default=False)
    filters = FiltersSerializer(required=False)


class CitationCopySerializer(serializers.Serializer[Any]):
    """Where the passage behind a citation, or nearly the same, stands in another document."""

    document_id = serializers.UUIDField()
    version_id = serializers.UUIDField()
    title = serializers.CharField()
    page = serializers.IntegerField()
    is_paged = serializers.BooleanField()
    place = serializers.CharField()
    start = serializers.IntegerField()
    end = serializers.IntegerField()


class CitationSerializer(serializers.Serializer[Any]):
    """The place behind ``[n]`` in the answer: ``quote`` is the page's text from ``start`` to ``end``."""

    n = serializers.IntegerField()
    document_id = serializers.UUIDField()
    version_id = serializers.UUIDField()
    chunk_id = serializers.UUIDField()
    title = serializers.CharField()
    page = serializers.IntegerField(
        help_text="From 1, for programs: together with `start` and `end` it names the place exactly."
    )
    is_paged = serializers.BooleanField(help_text="Whether a reader of the file sees the number `page`.")
    place = serializers.CharField(
        help_text="Where a reader finds it, in words: `page 7`, `Slide 4`, `Sheet Prices, rows 12–30`, or the path of headings "
        "`Travel › Hotels` in a file without pages; empty where only the title can be said."
    )
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    quote = serializers.CharField()
    also_in = serializers.SerializerMethodField(help_text="Other documents with nearly the same words.")

    @extend_schema_field(CitationCopySerializer(many=True))
    def get_also_in(self, citation: dict[str, Any]) -> list[dict[str, Any]]:
        copies: list[dict[str, Any]] = citation.get("also_in", [])  # answers of earlier versions have none
        return copies


class SaidSerializer(CitationSerializer):
    """What one document says: its words ``value`` stand in ``quote``."""

    value = serializers.CharField()
    dated = serializers.DateField(
        allow_null=True, help_text="The day that the document has of itself, if any."
    )
    added = serializers.DateField(allow_null=True, help_text="The day on which this version was uploaded.")


class ConflictSerializer(serializers.Serializer[Any]):
    """Two or more documents that say otherwise of the same thing; the first is what the answer cites."""

    places = SaidSerializer(many=True)


class UsageSerializer(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()


class UnsupportedSerializer(serializers.Serializer[Any]):
    """A sentence of the answer that no passage supports, at ``start`` to ``end`` of ``answer``."""

    start = serializers.IntegerField()
    end = serializers.IntegerField()
    text = serializers.CharField()


class AnswerSerializer(serializers.Serializer[Any]):
    """A question's answer. ``status``: answered, not_found, stopped, failed, or pending and streaming on the
    way.
    """

    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    question = serializers.CharField()
    status = serializers.ChoiceField(
        ["answered", "not_found", "stopped", "failed", "pending", "streaming"], read_only=True
    )
    answer = serializers.CharField()
    citations = CitationSerializer(many=True)
    unsupported = serializers.SerializerMethodField(
        help_text="Sentences of the answer that no passage supports; with "
        "`TESSERA_UNSUPPORTED_SENTENCES=omit` there are none."
    )
    conflicts = ConflictSerializer(many=True)
    usage = UsageSerializer(source="*")
    model = serializers.CharField(help_text="The language model that was asked; empty where none was.")
    created_at = serializers.DateTimeField()

    @extend_schema_field(UnsupportedSerializer(many=True))
    def get_unsupported(self, turn: TurnView) -> list[dict[str, Any]]:
        return unsupported_json(turn.status, turn.answer)


class ConversationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    created_at = serializers.DateTimeField()


class ConversationDetailSerializer(ConversationSerializer):
    turns = AnswerSerializer(many=True)
