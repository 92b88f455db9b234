"""The pages of searching and asking. Shells: each view reads the request, makes one call and renders.

What always holds: the whole state of the search page is in its address, and it works without scripts; the
middleware has put the organisation and the membership of the person on the request, or answered before.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe

from inference.errors import InferenceError
from search import asking, conversations
from search.api import stream_response
from search.conversations import Asker, NoSuchConversation
from search.events import last_event_id
from search.filters import FilterError, filters_json
from search.pages import FILTER_NAMES, filters_of_address, page_turn, search_page
from tenants.models import Membership, Organization


class MemberRequest(HttpRequest):
    """What :mod:`tenants.middleware` makes of a request under ``/o/<slug>/``."""

    organization: Organization
    membership: Membership


@require_safe
def search(request: MemberRequest, organization: str) -> HttpResponse:
    """The search page: ``?q=&type=&collection=&year=&from=&to=&turn=``. ``wait`` waits for its answer."""
    asker = _asker(request)
    context = search_page(request.organization, request.GET)
    turn_id = _uuid(request.GET.get("turn"))
    if turn_id is not None:
        try:
            if "wait" in request.GET:
                asking.wait_for(asker, turn_id)
            context["turn"] = page_turn(asker, conversations.get_turn(asker, turn_id))
            context["conversation"] = {"id": context["turn"].conversation_id}
        except NoSuchConversation:
            context["turn"] = None
    return render(request, "search/search.html", context)


@require_POST
def ask(request: MemberRequest, organization: str) -> HttpResponse:
    """Begins an answer. Scripts get JSON; without them the search page waits for the answer and shows it."""
    question = (request.POST.get("question") or request.POST.get("q") or "").strip()
    conversation = request.POST.get("conversation") or ""
    if not question or len(question) > asking.LONGEST_QUESTION or "\x00" in question:
        return _refused(
            request, 400, "invalid", f"A question has 1 to {asking.LONGEST_QUESTION} characters.", question
        )
    try:
        filters = filters_json(filters_of_address(request.POST))
        turn = asking.ask(
            _asker(request), question=question, filters=filters, conversation_id=_uuid(conversation)
        )
    except FilterError as error:
        return _refused(request, 400, error.code, str(error), question)
    except InferenceError as error:
        return _refused(request, 503, error.code, f"{error} {error.hint}", question)
    except NoSuchConversation as error:
        raise Http404 from error
    return _begun(request, turn)


@require_safe
def turn(request: MemberRequest, organization: str, turn_id: UUID) -> HttpResponse:
    """The answer block of a turn."""
    asker = _asker(request)
    shown = page_turn(asker, _turn(asker, turn_id))
    return render(
        request, "search/_answer.html", {"turn": shown, "conversation": {"id": shown.conversation_id}}
    )


@require_GET
def turn_events(request: MemberRequest, organization: str, turn_id: UUID) -> StreamingHttpResponse:
    """The turn's events; a reader who comes back sends ``Last-Event-ID``."""
    asker = _asker(request)
    after = last_event_id(request.headers.get("Last-Event-ID"))
    return stream_response(asker, _turn(asker, turn_id), after)


@require_POST
def turn_stop(request: MemberRequest, organization: str, turn_id: UUID) -> HttpResponse:
    """Stops an answer under way; what was written stays."""
    try:
        stopped = asking.stop(_asker(request), turn_id)
    except NoSuchConversation as error:
        raise Http404 from error
    if _wants_json(request):
        return JsonResponse({"turn_id": str(stopped.id), "status": stopped.status})
    return redirect(_search_url(request, stopped.question, turn=stopped.id))


@require_POST
def turn_regenerate(request: MemberRequest, organization: str, turn_id: UUID) -> HttpResponse:
    """Answers the same turn again, in other words."""
    asker = _asker(request)
    question = _turn(asker, turn_id).question
    try:
        return _begun(request, asking.ask_again(asker, turn_id))
    except InferenceError as error:
        return _refused(request, 503, error.code, f"{error} {error.hint}", question)


@require_safe
def conversation_list(request: MemberRequest, organization: str) -> HttpResponse:
    """The person's own conversations in this organisation; ``?before=`` goes on to older ones."""
    before = _uuid(request.GET.get("before"))
    try:
        found, older = conversations.list_conversations(_asker(request), before=before)
    except NoSuchConversation as error:
        raise Http404 from error
    context = {"conversations": found, "older": older, "before": before}
    return render(request, "search/conversations.html", context)


@require_safe
def conversation(request: MemberRequest, organization: str, conversation_id: UUID) -> HttpResponse:
    """One conversation with its answers."""
    asker = _asker(request)
    try:
        found = conversations.get_conversation(asker, conversation_id)
    except NoSuchConversation as error:
        raise Http404 from error
    turns = [page_turn(asker, each) for each in found.turns]
    return render(request, "search/conversation.html", {"conversation": found, "turns": turns})


@require_POST
def conversation_delete(request: MemberRequest, organization: str, conversation_id: UUID) -> HttpResponse:
    """Deletes one of the person's own conversations."""
    try:
        conversations.delete_conversation(_asker(request), conversation_id)
    except NoSuchConversation as error:
        raise Http404 from error
    return redirect("conversations", organization=organization)


def _asker(request: MemberRequest) -> Asker:
    return Asker(organization=request.organization, user_id=request.user.pk)


def _turn(asker: Asker, turn_id: UUID) -> conversations.TurnView:
    try:
        return conversations.get_turn(asker, turn_id)
    except NoSuchConversation as error:
        raise Http404 from error


def _begun(request: MemberRequest, turn: conversations.TurnView) -> HttpResponse:
    slug = request.organization.slug
    if not _wants_json(request):
        return redirect(_search_url(request, turn.question, turn=turn.id, wait=1))
    return JsonResponse(
        {
            "turn_id": str(turn.id),
            "conversation_id": str(turn.conversation_id),
            "events_url": reverse("turn-events", args=[slug, turn.id]),
            "stop_url": reverse("turn-stop", args=[slug, turn.id]),
            "regenerate_url": reverse("turn-regenerate", args=[slug, turn.id]),
            "url": _search_url(request, turn.question, turn=turn.id),
        },
        status=201,
    )


def _refused(request: MemberRequest, status: int, code: str, message: str, question: str) -> HttpResponse:
    if not _wants_json(request):
        messages.error(request, message)
        return redirect(_search_url(request, question[: asking.LONGEST_QUESTION]))
    error = {
        "code": code,
        "message": message,
        "detail": None,
        "request_id": getattr(request, "request_id", ""),
    }
    response = JsonResponse({"error": error}, status=status)
    if status == 503:
        response["Retry-After"] = "5"
    return response


def _search_url(request: MemberRequest, question: str, **more: Any) -> str:
    """The search page with the question and the form's filters."""
    chosen = [(name, value) for name in FILTER_NAMES for value in request.POST.getlist(name) if value]
    query = urlencode([("q", question), *chosen, *more.items()])
    return f"{reverse('search', args=[request.organization.slug])}?{query}"


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise Http404 from error
