"""Runs as jobs: one at a time, in the background of the product or in the command that asked for them.

What always holds: a run is a row, whose token says who works on it; who lost it writes nothing more; a run of the product
that died with its process is begun again, twice at most, and one of a command that died is given up; no scope is open while
a question is asked.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from django.db import DatabaseError, connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from inference import runtime
from inference.errors import InferenceError, NotReady
from inference.runtime import Runtime
from search.conversations import leave_out_removed
from search.evaluation import own, suites
from search.evaluation.asking import Asking, Outcome
from search.evaluation.corpora import Publisher, Say, prepare
from search.evaluation.derived import with_derived_pages
from search.evaluation.models import EvaluationResult, EvaluationRun
from search.evaluation.run import Clock, ask_all, configuration, summarise
from search.evaluation.suites import SuiteError
from search.index import IndexFailure
from search.retrieval import readable_collections
from tenants.models import Organization
from tenants.scope import system_scope, tenant_scope

logger = logging.getLogger(__name__)

Status = EvaluationRun.Status
SILENT_FOR = timedelta(seconds=60)
"""Who works on a run and wrote no sign of life for so long is dead."""
BEAT_SECONDS = 5.0
LOOK_SECONDS = 2.0
MOST_ATTEMPTS = 2
KEPT_AT_ONCE = 20
KEPT_RUNS = 100
"""Of an organisation, with their results; older ones go when another is queued."""
THREADS = 8
MOST_THREADS = 64
_UNDER_WAY = (Status.QUEUED, Status.RUNNING)


class AlreadyRuns(SuiteError):
    """Another run of the organisation is under way."""

    code = "already_runs"


class RunLost(Exception):
    """Somebody else works on the run now, or it was deleted."""


def queue(
    organization: Organization, *, suite: str, options: dict[str, Any], user_id: int | None = None
) -> EvaluationRun:
    """A run for the background. Raises :class:`AlreadyRuns`."""
    with tenant_scope(organization), transaction.atomic():
        Organization.objects.select_for_update().get(pk=organization.pk)
        if EvaluationRun.objects.filter(status__in=_UNDER_WAY).exists():
            raise AlreadyRuns("A run is under way.", hint="Wait until it has ended.")
        old = EvaluationRun.objects.order_by("-created_at").values_list("id", flat=True)[KEPT_RUNS:]
        EvaluationRun.objects.filter(id__in=list(old)).delete()
        return EvaluationRun.objects.create(
            organization=organization, suite=suite[:120], options=options, created_by_id=user_id
        )


def begin_here(organization: Organization, *, suite: str, options: dict[str, Any]) -> EvaluationRun:
    """A run that the caller works on itself."""
    with tenant_scope(organization):
        return EvaluationRun.objects.create(
            organization=organization, suite=suite[:120], options={**options, "here": True},
            status=Status.RUNNING, token=uuid.uuid4(), heartbeat_at=timezone.now(), attempts=1,
        )  # fmt: skip


def claim_next() -> EvaluationRun | None:
    """The oldest run that waits, taken for the caller; None while there is none, or while another is under way."""
    silent = Q(status=Status.RUNNING, heartbeat_at__lt=timezone.now() - SILENT_FOR)
    with system_scope("the next evaluation is of whichever organisation asked first"):
        runs = EvaluationRun.objects.select_related("organization").order_by("created_at")
        dead = list(runs.filter(silent))
        busy = runs.filter(status=Status.RUNNING).exclude(silent).exists()
        waiting = None if busy else runs.filter(status=Status.QUEUED).first()
    for run in dead:
        _take_from_the_dead(run, silent)
    return _taken(waiting, Q(status=Status.QUEUED)) if waiting is not None else None


def work(
    run: EvaluationRun,
    *,
    models: Runtime,
    publisher: Publisher,
    say: Say = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> EvaluationRun:
    """Does a run that the caller has taken, and returns it as it ended. Every outcome becomes its state."""
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(run, ended), name="evaluation-heartbeat", daemon=True)
    beat.start()
    try:
        _perform(run, models, publisher, say, stopping)
    except RunLost:
        logger.info("evaluation %s ends elsewhere", run.id)
    except NotReady as error:  # the models went away in the midst of it
        if run.options.get("here") or run.attempts >= MOST_ATTEMPTS:
            _keep(run, status=Status.FAILED, error=f"{error} {error.hint}"[:500])
        else:
            _keep(run, status=Status.QUEUED, token=None)
    except (SuiteError, InferenceError, IndexFailure) as error:
        _keep(run, status=Status.FAILED, error=f"{error} {getattr(error, 'hint', '')}"[:500])
    except Exception as error:
        logger.exception("evaluation %s failed", run.id)
        _keep(run, status=Status.FAILED, error=f"Failed: {type(error).__name__}. The log says more.")
    finally:
        ended.set()
        beat.join()
    return look_at(run)


def look_at(run: EvaluationRun) -> EvaluationRun:
    """The run as it is now. Raises ``EvaluationRun.DoesNotExist``."""
    with tenant_scope(run.organization):
        return EvaluationRun.objects.select_related("organization").get(id=run.id)


def _perform(
    run: EvaluationRun, models: Runtime, publisher: Publisher, say: Say, stopping: Callable[[], bool]
) -> None:
    clock, options = Clock(), run.options
    models = _models_for(models, options)
    suite = suites.chosen(_suite(run), split=options.get("split", "all"), limit=options.get("limit", 0))
    if not suite.questions:
        raise SuiteError("No question is left to ask.", hint="Choose another split or limit.")
    names, titles = _documents(run, suite, models, publisher, say)
    suite = with_derived_pages(suite, run.organization, names)
    asking = Asking(
        organization=run.organization,
        collection_ids=readable_collections(run.organization),
        names=names,
        models=models,
        retrieval_only=bool(options.get("retrieval_only")),
        oracle=bool(options.get("oracle")),
    )
    with tenant_scope(run.organization):
        EvaluationResult.objects.filter(run=run).delete()
    made_with = configuration(models, options, publisher.made_from(models.embedder))
    model = "" if asking.retrieval_only else models.generator.model_name
    total = len(suite.questions)
    _keep(
        run,
        configuration=made_with,
        model=model[:200],
        embedder=models.embedder.name[:200],
        done=0,
        total=total,
    )
    say(f"{suite.name}: asking {total} questions")
    numbers = {question.id: number for number, question in enumerate(suite.questions, 1)}
    outcomes: list[Outcome] = []
    waiting: list[EvaluationResult] = []
    threads = min(MOST_THREADS, int(options.get("threads") or THREADS))
    for outcome in ask_all(suite.questions, asking, threads=threads, stopping=stopping):
        outcomes.append(outcome)
        waiting.append(_row(run, numbers[outcome.question.id], outcome, titles))
        if len(waiting) >= KEPT_AT_ONCE:
            _keep_results(run, waiting, len(outcomes))
            say(f"{suite.name}: {len(outcomes)} of {total} questions")
            waiting = []
    if len(outcomes) < total:  # the process ends
        _keep(run, status=Status.QUEUED, token=None, attempts=F("attempts") - 1)
        raise RunLost(str(run.id))
    _keep_results(run, waiting, total)
    _keep(run, status=Status.DONE, metrics=summarise(outcomes), duration_s=clock.seconds())


def _suite(run: EvaluationRun) -> suites.Suite:
    source = run.options.get("source")
    if run.organization.is_internal:
        return suites.read(Path(source))
    return own.suite_of(run.organization, Path(source) if source else None)


def _documents(
    run: EvaluationRun, suite: suites.Suite, models: Runtime, publisher: Publisher, say: Say
) -> tuple[dict[uuid.UUID, str], dict[str, str]]:
    """The names of the documents by their ids, and titles for people by name."""
    if suite.kind == "own":
        titles = own.titles(run.organization)
        return {id: str(id) for id in titles}, {str(id): title for id, title in titles.items()}
    return prepare(suite, embedder=models.embedder, publisher=publisher, say=say).names, {}


def _models_for(models: Runtime, options: dict[str, Any]) -> Runtime:
    name = options.get("model")
    _ = models.embedder
    if options.get("retrieval_only"):
        return models
    if not name or name == models.generator.model_name:
        return models
    if not models.routed:
        raise SuiteError(
            f"The model that runs is {models.generator.model_name}, not {name}.",
            hint="Stop the product, or give it a route to that model.",
        )
    return Runtime.of(generator=models.generator_of(name), embedder=models.embedder)


def _row(run: EvaluationRun, number: int, outcome: Outcome, titles: dict[str, str]) -> EvaluationResult:
    question = outcome.question
    pages: dict[str, list[int]] = {}
    for name, page in question.pages:
        pages.setdefault(name, []).append(page)
    gold = [
        {"document_id": name, "title": titles.get(name, name), "pages": pages.get(name, [])}
        for name in dict.fromkeys((*question.relevant, *question.gold))
    ]
    return EvaluationResult(
        organization=run.organization, run=run, number=number, key=question.id[:300], question=question.text,
        earlier=list(question.earlier), answerable=question.answerable, answers=list(question.answers), gold=gold,
        query=outcome.query, status=outcome.status, answer=outcome.answer, citations=outcome.citations,
        passages=outcome.passages, metrics=outcome.metrics, timings=outcome.timings, error_code=outcome.error_code,
    )  # fmt: skip


def _keep_results(run: EvaluationRun, rows: list[EvaluationResult], done: int) -> None:
    _keep(run, done=done)
    with tenant_scope(run.organization), transaction.atomic():
        for row in rows:  # a document that was removed since the question was asked is not named again
            places = {name: getattr(row, name) for name in ("citations", "passages", "gold")}
            leave_out_removed(places, tuple(places))
            for name, kept in places.items():
                setattr(row, name, kept)
        EvaluationResult.objects.bulk_create(rows)


def _keep(run: EvaluationRun, **values: Any) -> None:
    with tenant_scope(run.organization):
        kept = EvaluationRun.objects.filter(id=run.id, token=run.token).update(**values)
    if not kept:
        raise RunLost(str(run.id))


def _beat(run: EvaluationRun, ended: threading.Event) -> None:
    """One sign of life that cannot be written is no reason to give up the run."""
    try:
        while not ended.wait(BEAT_SECONDS):
            try:
                _keep(run, heartbeat_at=timezone.now())
            except DatabaseError:
                logger.warning("a sign of life of evaluation %s was not written", run.id, exc_info=True)
    except RunLost:
        pass
    finally:
        connections.close_all()


def _taken(run: EvaluationRun, condition: Q) -> EvaluationRun | None:
    """The run with a token of the caller's, unless another was faster."""
    token = uuid.uuid4()
    with tenant_scope(run.organization):
        taken = EvaluationRun.objects.filter(condition, id=run.id).update(
            status=Status.RUNNING, token=token, heartbeat_at=timezone.now(), attempts=F("attempts") + 1
        )
    return look_at(run) if taken else None


def _take_from_the_dead(run: EvaluationRun, silent: Q) -> None:
    again = run.attempts < MOST_ATTEMPTS and not run.options.get("here")
    values = {"status": Status.QUEUED} if again else {"status": Status.FAILED, "error": "It was interrupted."}
    with tenant_scope(run.organization):
        EvaluationRun.objects.filter(silent, id=run.id).update(token=None, **cast(Any, values))


class EvaluationThread:
    """Works on the runs of the product, one after the other."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends after the questions in hand; the run goes back to the queue."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                models = runtime.current()
                if models.state == "ready" and (run := claim_next()) is not None:
                    work(run, models=models, publisher=self._publisher, stopping=self._stop.is_set)
            except Exception:
                logger.exception("evaluations failed; they are tried again")
            finally:
                connections.close_all()


def wait_for(run: EvaluationRun, say: Say, *, gone: Callable[[], bool] = lambda: False) -> EvaluationRun:
    """Waits until the product has ended the run, or is ``gone`` and has not begun it; says how far it is."""
    told = ""
    while True:
        run = look_at(run)
        if run.status not in _UNDER_WAY:
            return run
        if run.status == Status.QUEUED and gone():
            with tenant_scope(run.organization):
                EvaluationRun.objects.filter(id=run.id, status=Status.QUEUED).update(
                    status=Status.FAILED, error="The product has stopped."
                )
            continue
        line = (
            f"{run.suite}: {run.done} of {run.total} questions" if run.total else f"{run.suite}: {run.status}"
        )
        if line != told:
            say(line)
            told = line
        time.sleep(LOOK_SECONDS)
