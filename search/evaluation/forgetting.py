"""What evaluations and feedback quote of a document goes with it; the words of questions and answers stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from search.evaluation.models import EvaluationResult, Feedback

_PLACES = ((EvaluationResult, ("citations", "passages", "gold")), (Feedback, ("citations", "passages")))


def forget_places(document_id: str) -> None:
    """Removes the places of a document from the rows of the open scope."""
    for row, fields in list(_naming(document_id)):
        for field in fields:
            setattr(row, field, places_without(getattr(row, field), document_id))
        row.save(update_fields=list(fields))


def places_without(places: Sequence[dict[str, Any]], document_id: str) -> list[dict[str, Any]]:
    """The places that are not in the document, and do not name it as one that says the same."""
    kept = [place for place in places if place.get("document_id") != document_id]
    return [_without_copy(place, document_id) if "also_in" in place else place for place in kept]


def _without_copy(place: dict[str, Any], document_id: str) -> dict[str, Any]:
    copies = [copy for copy in place["also_in"] if copy.get("document_id") != document_id]
    return {**place, "also_in": copies}


def count_places(document_id: str) -> int:
    """How many rows of the open scope name a document; JSON keeps an id as it is, so text finds it."""
    return sum(1 for _ in _naming(document_id))


def _naming(document_id: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    for model, fields in _PLACES:
        texts = {f"{field}_text": Cast(field, TextField()) for field in fields}
        named = Q()
        for name in texts:
            named |= Q(**{f"{name}__contains": document_id})
        for row in model.objects.annotate(**texts).filter(named):
            yield row, fields
