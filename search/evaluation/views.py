"""The pages of evaluations and feedback. Shells: each reads the request, makes one call and renders.

What always holds: everything but giving feedback is for the organisation's owners and admins.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from search.conversations import Asker, NoSuchConversation
from search.evaluation import comparing, feedback, jobs, own, pages
from search.evaluation.feedback import NotAnswered
from search.evaluation.models import EvaluationQuestion, EvaluationResult, EvaluationRun, Feedback
from search.evaluation.suites import SuiteError
from tenants.members import may_manage
from tenants.models import Membership, Organization


class MemberRequest(HttpRequest):
    """What :mod:`tenants.middleware` makes of a request under ``/o/<slug>/``."""

    organization: Organization
    membership: Membership


@require_safe
def evaluation(request: MemberRequest, organization: str) -> HttpResponse:
    """The runs and their trend."""
    return render(request, "search/evaluation.html", pages.overview(_managed(request)))


@require_POST
def evaluation_run(request: MemberRequest, organization: str) -> HttpResponse:
    """Asks the organisation's own questions, in the background."""
    home = _managed(request)
    try:
        suite = own.suite_of(home).name
        jobs.queue(home, suite=suite, options={"threads": jobs.THREADS}, user_id=request.user.pk)
        messages.success(request, "The questions are being asked. The run shows here when it has ended.")
    except SuiteError as error:
        messages.error(request, f"{error} {error.hint}")
    return redirect("evaluation", organization)


@require_safe
def evaluation_detail(request: MemberRequest, organization: str, run_id: UUID) -> HttpResponse:
    """A run with its questions; ``?show=wrong``, ``refused`` or ``uncited``."""
    try:
        context = pages.run_page(_managed(request), run_id, request.GET)
    except EvaluationRun.DoesNotExist as error:
        raise Http404 from error
    return render(request, "search/evaluation_run.html", context)


@require_safe
def evaluation_result(request: MemberRequest, organization: str, run_id: UUID, number: int) -> HttpResponse:
    """One question of a run: what was known, what was answered, what was found, and with which settings."""
    try:
        context = pages.result_page(_managed(request), run_id, number)
    except EvaluationResult.DoesNotExist as error:
        raise Http404 from error
    return render(request, "search/evaluation_result.html", context)


@require_safe
def evaluation_comparison(request: MemberRequest, organization: str) -> HttpResponse:
    """Two runs beside each other, ``?before=`` and ``after=`` their ids."""
    try:
        context = comparing.comparison_page(_managed(request), request.GET)
    except EvaluationRun.DoesNotExist as error:
        raise Http404 from error
    return render(request, "search/evaluation_comparison.html", context)


@require_safe
def questions(request: MemberRequest, organization: str) -> HttpResponse:
    """The organisation's own questions."""
    return render(request, "search/evaluation_questions.html", {"questions": own.rows(_managed(request))})


@require_POST
def questions_upload(request: MemberRequest, organization: str) -> HttpResponse:
    """Adds the questions of a file, or puts them in the place of all."""
    home, file = _managed(request), request.FILES.get("file")
    if file is None:
        messages.error(request, "Choose a file of questions.")
        return redirect("evaluation-questions", organization)
    try:
        read = own.read_file(str(file.name), file.read(own.LARGEST_FILE + 1))
        added = own.add(home, read, replace="replace" in request.POST)
        messages.success(request, f"{added} questions were added.")
    except SuiteError as error:
        messages.error(request, f"{error} {error.hint}")
    return redirect("evaluation-questions", organization)


@require_http_methods(["GET", "HEAD", "POST"])
def question(request: MemberRequest, organization: str, question_id: UUID) -> HttpResponse:
    """One question, to be edited."""
    home = _managed(request)
    try:
        row = own.row(home, question_id)
        if request.method != "POST":
            lines = {
                name: "\n".join(map(str, getattr(row, name))) for name in ("answers", "documents", "pages")
            }
            return render(request, "search/evaluation_question.html", {"question": row, **lines})
        feedback.edit_question(home, question_id, own.from_form(home, request.POST))
        messages.success(request, "The question was changed.")
    except EvaluationQuestion.DoesNotExist as error:
        raise Http404 from error
    except SuiteError as error:
        messages.error(request, f"{error} {error.hint}")
        return redirect("evaluation-question", organization, question_id)
    return redirect("evaluation-questions", organization)


@require_POST
def question_remove(request: MemberRequest, organization: str, question_id: UUID) -> HttpResponse:
    """Takes a question out of the set."""
    try:
        feedback.remove_question(_managed(request), question_id)
    except EvaluationQuestion.DoesNotExist as error:
        raise Http404 from error
    return redirect("evaluation-questions", organization)


@require_safe
def inbox(request: MemberRequest, organization: str) -> HttpResponse:
    """What readers thought of answers; ``?handled`` shows what was looked at."""
    handled = "handled" in request.GET
    rows = feedback.inbox(_managed(request), handled=handled)
    labels: dict[str, str] = dict(Feedback.Reason.choices)
    shown = [{"row": row, "reasons": [labels.get(r, r) for r in row.reasons]} for row in rows]
    return render(request, "search/feedback.html", {"feedback": shown, "handled": handled})


@require_POST
def feedback_handle(request: MemberRequest, organization: str, feedback_id: UUID) -> HttpResponse:
    """Says that it was looked at; with ``again``, that it was not."""
    try:
        feedback.handle(_managed(request), feedback_id, handled="again" not in request.POST)
    except Feedback.DoesNotExist as error:
        raise Http404 from error
    return redirect("feedback", organization)


@require_POST
def feedback_question(request: MemberRequest, organization: str, feedback_id: UUID) -> HttpResponse:
    """Makes an evaluation question of it, and leads there."""
    try:
        made = feedback.make_question(_managed(request), feedback_id)
    except Feedback.DoesNotExist as error:
        raise Http404 from error
    except SuiteError as error:
        messages.error(request, f"{error} {error.hint}")
        return redirect("feedback", organization)
    return redirect("evaluation-question", organization, made.id)


@require_POST
def turn_feedback(request: MemberRequest, organization: str, turn_id: UUID) -> HttpResponse:
    """What the asker thinks of an answer: ``helpful`` yes or no, ``reason`` any number of times, ``comment``."""
    helpful = request.POST.get("helpful")
    asker = Asker(organization=request.organization, user_id=request.user.pk)
    wants_json = request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    try:
        given = feedback.give(
            asker,
            turn_id,
            helpful=helpful == "yes",
            reasons=request.POST.getlist("reason"),
            comment=request.POST.get("comment", ""),
        )
    except NoSuchConversation as error:
        raise Http404 from error
    except NotAnswered as error:
        messages.error(request, str(error))
        return _to_turn(request, turn_id)
    if wants_json:
        return JsonResponse({"turn_id": str(turn_id), "helpful": given.helpful}, status=201)
    messages.success(request, "Thank you. Your administrators see it.")
    return _to_turn(request, turn_id)


def _to_turn(request: MemberRequest, turn_id: UUID) -> HttpResponse:
    from search.conversations import get_turn

    asker = Asker(organization=request.organization, user_id=request.user.pk)
    return redirect("conversation", request.organization.slug, get_turn(asker, turn_id).conversation_id)


def _managed(request: MemberRequest) -> Organization:
    membership: Any = getattr(request, "membership", None)
    if not isinstance(membership, Membership) or not may_manage(membership):
        raise PermissionDenied("Evaluations are for owners and admins.")
    return request.organization
