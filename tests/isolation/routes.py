"""Every route of the product, classified: who may see what. A route that is missing here fails the walk.

``PUBLIC`` answers to anybody and knows no organisation. ``PERSON`` is about the person signed in.
``OPERATOR`` is what is measured and, without an entry here, all below ``admin/``: Django's admin and the operator's pages.
``PAGE`` lies under ``/o/<slug>/``. ``API`` needs a credential. ``ids`` says what the parameters of a route name: a kind of object of the world in :mod:`tests.isolation.world`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


class Kind(Enum):
    PUBLIC = auto()
    PERSON = auto()
    OPERATOR = auto()
    PAGE = auto()
    API = auto()


@dataclass(frozen=True, slots=True)
class Route:
    kind: Kind
    methods: tuple[str, ...] = ("GET",)
    ids: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    """Fields of the request; a value in bytes is sent as a file."""


def page(*methods: str, body: dict[str, Any] | None = None, **ids: str) -> Route:
    return Route(Kind.PAGE, methods, ids, body or {})


def api(*methods: str, body: dict[str, Any] | None = None, **ids: str) -> Route:
    return Route(Kind.API, methods, ids, body or {})


FILE = {"file": b"A short text about nothing in particular."}
DOCUMENT: dict[str, Any] = {"document_id": "document"}
TURN: dict[str, Any] = {"turn_id": "turn"}
CONVERSATION: dict[str, Any] = {"conversation_id": "conversation"}
PUBLIC = Route(Kind.PUBLIC)
PERSON = Route(Kind.PERSON)

ROUTES: dict[str, Route] = {
    "healthz": PUBLIC,
    "readyz": PUBLIC,
    "metrics": Route(Kind.OPERATOR),
    "api-schema": PUBLIC,
    "api-docs": PUBLIC,
    "account_login": PUBLIC,
    "account_signup": PUBLIC,
    "account_logout": PUBLIC,
    "account_inactive": PUBLIC,
    "account_reset_password": PUBLIC,
    "account_reset_password_done": PUBLIC,
    "account_reset_password_from_key": PUBLIC,
    "account_reset_password_from_key_done": PUBLIC,
    "account_reauthenticate": PERSON,
    "account_change_password": PERSON,
    "account_set_password": PERSON,
    "home": PERSON,
    "settings": page("GET"),
    "settings-member-add": page("POST", body={"name": "alice", "role": "member"}),
    "settings-member-role": page("POST", body={"role": "member"}, member="membership"),
    "settings-member-remove": page("POST", member="membership"),
    "settings-key-create": page("POST", body={"key_name": "x", "scopes": ["read"]}),
    "settings-key-revoke": page("POST", key="key"),
    "documents": page("GET"),
    "document-upload": page("POST", body=FILE),
    "document": page("GET", **DOCUMENT),
    "document-row": page("GET", **DOCUMENT),
    "document-file": page("GET", **DOCUMENT),
    "document-delete": page("POST", **DOCUMENT),
    "document-queue": page("GET"),
    "document-cancel": page("POST", **DOCUMENT),
    "document-retry": page("POST", **DOCUMENT),
    "document-replace": page("POST", body=FILE, **DOCUMENT),
    "page-image": page("GET", **DOCUMENT, page="number"),
    "search": page("GET"),
    "ask": page("POST", body={"question": "What?"}),
    "turn": page("GET", **TURN),
    "turn-events": page("GET", **TURN),
    "turn-stop": page("POST", **TURN),
    "turn-regenerate": page("POST", **TURN),
    "conversations": page("GET"),
    "conversation": page("GET", **CONVERSATION),
    "conversation-delete": page("POST", **CONVERSATION),
    "turn-feedback": page("POST", body={"helpful": "yes"}, **TURN),
    "evaluation": page("GET"),
    "evaluation-run": page("POST"),
    "evaluation-detail": page("GET", run_id="run"),
    "evaluation-result": page("GET", run_id="run", number="number"),
    "evaluation-comparison": page("GET"),
    "evaluation-questions": page("GET"),
    "evaluation-questions-upload": page("POST", body={"file": b"question\nWhat?\n"}),
    "evaluation-question": page("GET", "POST", body={"question": "What?"}, question_id="question"),
    "evaluation-question-remove": page("POST", question_id="question"),
    "feedback": page("GET"),
    "feedback-handle": page("POST", feedback_id="feedback"),
    "feedback-question": page("POST", feedback_id="feedback"),
    "api-documents": api("GET", "POST", body=FILE),
    "api-document": api("GET", "DELETE", **DOCUMENT),
    "api-archives": api("POST", body=FILE),
    "api-queue": api("GET"),
    "api-document-cancel": api("POST", **DOCUMENT),
    "api-document-retry": api("POST", **DOCUMENT),
    "api-search": api("POST", body={"query": "canary"}),
    "api-answers": api("POST", body={"question": "What?"}),
    "api-answer": api("GET", answer_id="turn"),
    "api-answer-stop": api("POST", answer_id="turn"),
    "api-answer-feedback": api("POST", body={"helpful": True}, answer_id="turn"),
    "api-evaluation-runs": api("GET"),
    "api-evaluation-run": api("GET", run_id="run"),
    "api-evaluation-results": api("GET", run_id="run"),
    "api-conversations": api("GET"),
    "api-conversation": api("GET", **CONVERSATION),
}
OPERATOR_PREFIX = "admin/"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of the URLconf: its full route, its name, its parameters."""

    route: str
    name: str
    parameters: frozenset[str]

    @property
    def is_operator(self) -> bool:
        return self.route.startswith(OPERATOR_PREFIX)


def patterns(resolver: URLResolver | None = None, before: str = "") -> Iterator[Pattern]:
    """Every pattern of the product's URLconf."""
    for each in (resolver or get_resolver()).url_patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each, route)
        elif isinstance(each, URLPattern):
            parameters = frozenset(_parameters(route))
            yield Pattern(route, each.name or "", parameters)


def _parameters(route: str) -> Iterator[str]:
    for part in route.split("<")[1:]:
        yield part.split(">")[0].split(":")[-1]
