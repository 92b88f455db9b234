"""Searching and asking over the API. Shells: each view parses, makes one call and renders."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.errors import InferenceError, NotReady, Overloaded
from inference.request import Priority
from search import asking, conversations
from search.conversations import Asker, TurnView
from search.events import last_event_id
from search.filters import parse_filters
from search.paging import PAGE_PARAMETERS, page_of, page_response
from search.retrieval import readable_collections, retrieve
from search.serializers import (
    AnswerRequestSerializer,
    AnswerSerializer,
    ConversationDetailSerializer,
    ConversationSerializer,
    SearchRequestSerializer,
    SearchResponseSerializer,
    results_json,
)
from tenants.authentication import credential
from tenants.scope import tenant_scope

LARGEST_BODY = 256 * 1024
_EVENTS = OpenApiParameter(
    "Last-Event-ID", int, OpenApiParameter.HEADER, description="Go on after this event of a dropped stream."
)
_INVALID = OpenApiResponse(description="The request is not valid; `detail` says why.")
_BUSY = OpenApiResponse(description="The models are loading or the queue is full; see `Retry-After`.")
_GONE = OpenApiResponse(description="There is nothing here for this key.")


class BoundedJSONParser(JSONParser):
    """JSON of at most 256 KiB and of sane depth; anything else is a 400, at once."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise ParseError(f"The body is larger than {LARGEST_BODY} bytes.")
        try:
            return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not JSON that can be read.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class EventStreamRenderer(BaseRenderer):
    """Lets ``Accept: text/event-stream`` pass the content negotiation. Events themselves are streamed by the
    view.
    """

    media_type = "text/event-stream"
    format = "events"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        return JSONRenderer().render(data)


class ApiView(APIView):
    """Errors are JSON, whatever the client accepts."""

    parser_classes = [BoundedJSONParser]
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(final, Response):
            final.accepted_renderer = JSONRenderer()
            final.accepted_media_type = JSONRenderer.media_type
        return final


class Search(ApiView):
    """The passages that fit a query best."""

    required_scopes = {"POST": "read"}

    @extend_schema(
        operation_id="search",
        summary="Search the documents",
        request=SearchRequestSerializer,
        responses={200: SearchResponseSerializer, 400: _INVALID, 503: _BUSY},
    )
    def post(self, request: Request) -> Response:
        organization = credential(request).organization
        sent = SearchRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        found = retrieve(
            organization=organization,
            collection_ids=tuple(readable_collections(organization)),
            query=sent.validated_data["query"],
            limit=sent.validated_data["limit"],
            filters=parse_filters(_filters(sent.validated_data)),
            as_typed=sent.validated_data["as_typed"],
            by_document=sent.validated_data.get("group_by") == "document",
        )
        return Response(SearchResponseSerializer(results_json(found)).data)


class Answers(ApiView):
    """Answers from the documents, with citations."""

    required_scopes = {"POST": "read"}

    @extend_schema(
        operation_id="answers_create",
        summary="Ask a question",
        description="Waits for the answer, or streams it as server-sent events with `stream: true` or "
        "`Accept: text/event-stream`.",
        request=AnswerRequestSerializer,
        responses={
            200: AnswerSerializer,
            (200, "text/event-stream"): OpenApiResponse(str, description="The events of the answer."),
            400: _INVALID,
            404: _GONE,
            503: _BUSY,
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        asker = asker_of(request)
        sent = AnswerRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        values = sent.validated_data
        turn = asking.ask(
            asker,
            question=values["question"],
            filters=_filters(values),
            conversation_id=values.get("conversation_id"),
            priority=Priority.API,
        )
        if values["stream"] or _wants_events(request):
            return stream_response(asker, turn, 0)
        return _answer(asking.wait_for(asker, turn.id))


class AnswerDetail(ApiView):
    """One answer, as it is now."""

    required_scopes = {"GET": "read"}

    @extend_schema(
        operation_id="answers_retrieve",
        summary="Look at an answer",
        description="With `Accept: text/event-stream`, its events after `Last-Event-ID`.",
        parameters=[_EVENTS],
        responses={200: AnswerSerializer, 404: _GONE},
    )
    def get(self, request: Request, answer_id: UUID) -> HttpResponseBase:
        asker = asker_of(request)
        if _wants_events(request):
            turn = conversations.get_turn(asker, answer_id)
            return stream_response(asker, turn, last_event_id(request.headers.get("Last-Event-ID")))
        return Response(AnswerSerializer(asking.look_at(asker, answer_id)).data)


class AnswerStop(ApiView):
    """Ends an answer under way."""

    required_scopes = {"POST": "read"}

    @extend_schema(
        operation_id="answers_stop",
        summary="Stop an answer",
        description="What was written so far stays. An answer that is complete is left as it is.",
        request=None,
        responses={200: AnswerSerializer, 404: _GONE},
    )
    def post(self, request: Request, answer_id: UUID) -> Response:
        return Response(AnswerSerializer(asking.stop(asker_of(request), answer_id)).data)


class Conversations(ApiView):
    """The conversations of this key or person."""

    required_scopes = {"GET": "read"}

    @extend_schema(
        operation_id="conversations_list",
        summary="List conversations, newest first",
        parameters=PAGE_PARAMETERS,
        responses={200: page_of(ConversationSerializer)},
    )
    def get(self, request: Request) -> Response:
        asker = asker_of(request)
        with tenant_scope(asker.organization):
            return page_response(
                self,
                request,
                conversations.own_conversations(asker),
                lambda rows: ConversationSerializer(rows, many=True).data,
            )


class ConversationDetail(ApiView):
    """One conversation with its turns."""

    required_scopes = {"GET": "read", "DELETE": "read"}

    @extend_schema(
        operation_id="conversations_retrieve",
        summary="Look at a conversation",
        responses={200: ConversationDetailSerializer, 404: _GONE},
    )
    def get(self, request: Request, conversation_id: UUID) -> Response:
        found = conversations.get_conversation(asker_of(request), conversation_id)
        return Response(ConversationDetailSerializer(found).data)

    @extend_schema(
        operation_id="conversations_destroy",
        summary="Delete a conversation of one's own",
        responses={204: None, 404: _GONE},
    )
    def delete(self, request: Request, conversation_id: UUID) -> Response:
        conversations.delete_conversation(asker_of(request), conversation_id)
        return Response(status=204)


def asker_of(request: Request) -> Asker:
    """Who asks, by the request's credential."""
    given = credential(request)
    return Asker(
        organization=given.organization,
        user_id=given.user.pk if given.user is not None else None,
        api_key_id=given.api_key.pk if given.api_key is not None else None,
    )


def stream_response(asker: Asker, turn: TurnView, after: int) -> StreamingHttpResponse:
    """The turn's events as a response that no proxy holds back."""
    response = StreamingHttpResponse(
        asking.event_stream(asker, turn, after), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    return response


def _answer(turn: TurnView) -> Response:
    """The complete answer. Raises what ended it, where it failed."""
    if turn.status == "failed":
        raise _failure(turn.error_code)
    return Response(AnswerSerializer(turn).data)


def _failure(code: str) -> InferenceError:
    known: dict[str, InferenceError] = {
        "overloaded": Overloaded("Too many questions are being answered."),
        "not_ready": NotReady("The models are loading."),
    }
    return known.get(code, InferenceError(f"The answer failed ({code})."))


def _wants_events(request: Request) -> bool:
    return bool(request.accepted_media_type.startswith(EventStreamRenderer.media_type))


def _filters(values: dict[str, Any]) -> dict[str, Any]:
    """The validated filters in the JSON form that a turn keeps."""
    return {
        name: [str(v) for v in value] if isinstance(value, list) else value.isoformat()
        for name, value in values.get("filters", {}).items()
    }
