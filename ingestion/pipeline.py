"""READ THIS FIRST: the way of a document, from an uploaded file to passages that can be found.

    claim -> parse (child process) -> chunk -> embed -> rows -> index -> publish -> remove the old version

Parsing runs ahead: the next files are read while this one is embedded, and short ones may pass (:mod:`ingestion.ahead`).
Short files of one organisation that are read go the rest of the way together (:mod:`ingestion.together`). The last three
steps are :mod:`ingestion.publishing`.

What always holds: each stage can be repeated, since ids follow from (organisation, version, ordinal) and a
stage first removes what an earlier try left; a version becomes visible by one pointer, set in the same
transaction that ends the job, so that nothing half indexed is ever found; no transaction and no scope is open
while a file is parsed or text is embedded; and a worker that lost its lease publishes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from inference import runtime
from inference.embedder import Embedder
from inference.errors import EngineStopped, InferenceError, NotReady, Overloaded, ServiceAway
from ingestion import files, jobs, titles
from ingestion.ahead import ReadAhead, Reading, StillBeingRead
from ingestion.chunking import chunk
from ingestion.guards import IngestionFailure
from ingestion.jobs import Lease, LeaseLost, Stage, Stopping
from ingestion.parsed import TextChunk
from ingestion.publishing import Vectors, publish, seconds_to_write, take_back_what_nobody_wants, write_rows
from ingestion.together import Member, Together
from search import corpus
from search.index.errors import IndexAway, IndexFailure

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 200
LONGEST_PATH = 200  # characters; the embedder reads 256 tokens in all
PROGRESS_SECONDS = 0.5
MODELS_WAIT_SECONDS = 2.0
MODELS_AWAY = "The models do not answer."
AGAIN = "It is tried again by itself; if it stays so, tell the operator of this installation."
TURN_SECONDS = 60.0
"""After so long a worker ends its turn between two jobs, so that what else it was asked for, such as a sweep, is done."""
LONG_SECONDS = 5.0
"""A job that takes longer lets others be read, and pass, also at the end of a turn."""


def work_for_a_turn() -> int:
    """:func:`work_until_idle` for about a minute; sends a wake-up where more may be due. Returns how many were worked on."""
    began = time.monotonic()
    worked = work_until_idle(seconds=TURN_SECONDS)
    if time.monotonic() - began >= TURN_SECONDS:
        jobs.wake_workers()
    return worked


def work_until_idle(
    *,
    clock: Callable[[], datetime] = timezone.now,
    stopping: Callable[[], bool] | None = None,
    seconds: float = float("inf"),
) -> int:
    """Claims and works on jobs until none is due; returns how many were worked on. After ``seconds`` those that are held
    are done and no others, and after as long again those go back to the queue, but for files that take long to be read."""
    stop = stopping or worker_is_stopping
    worked, job_began = 0, time.monotonic()
    over = job_began + seconds

    def claim() -> Lease | None:
        now = time.monotonic()
        if stop() or (now >= over and now - job_began < LONG_SECONDS):
            return None
        return jobs.claim(clock=clock, stopping=stop)

    with ReadAhead(settings.ENV.read_ahead, claim=claim, work=work, over=over) as ahead:
        while not stop() and (time.monotonic() < over + seconds or ahead.holds_slow):
            job_began = time.monotonic()
            if (job := ahead.next()) is None:
                break
            worked += work(job, ahead)
    return worked + ahead.passed


def work(job: Lease | Reading, ahead: ReadAhead | None = None) -> int:
    """Takes one claimed job as far as it goes, and with a short one that is read others like it; returns how many. Every
    outcome becomes the job's state, or the job waits, still being read, for its turn. Others are read ``ahead``."""
    if ahead is None:
        with ReadAhead(0, claim=lambda: None, work=work) as alone:
            return work(job, alone)
    others = ahead.companions(job) if isinstance(job, Reading) else []
    ended = _attempt_together([job, *others], ahead) if isinstance(job, Reading) and others else []
    every = [job, *others]
    for each in every:
        if each not in ended:
            try:
                _attempt(each, ahead)
            except StillBeingRead:
                return 0  # one that is not read has no companions
    take_back_what_nobody_wants([each.lease if isinstance(each, Reading) else each for each in every])
    return len(every)


def _attempt_together(readings: Sequence[Reading], ahead: ReadAhead) -> list[Reading]:
    """Those that are done, and need not be attempted one by one. What fails does so once more by itself, where its failure
    becomes its state."""
    together: Together | None = None
    try:
        embedder = runtime.current().embedder
        members = [_member(reading, embedder) for reading in readings]
        together = Together(members, embedder=embedder, ahead=ahead, progress_seconds=PROGRESS_SECONDS)
        together.run()
    except (ServiceAway, EngineStopped, IndexAway) as error:  # each by itself would find that out once more
        logger.warning("files that went together: %s", error)
        code, message = (
            ("index_away", error.message) if isinstance(error, IndexAway) else ("models_away", MODELS_AWAY)
        )
        for reading in readings:
            if together is None or reading not in together.ended:
                _let_go(reading.lease, code=code, message=message, remedy=AGAIN)
        return list(readings)
    except (LeaseLost, Stopping, NotReady, Overloaded):
        pass
    except Exception:
        logger.warning("files that went together go on one by one", exc_info=True)
    return [] if together is None else together.ended


def _member(reading: Reading, embedder: Embedder) -> Member:
    parsed = reading.result.result()[0]
    passages = chunk(parsed, tokenizer=embedder.tokenizer, max_tokens=CHUNK_TOKENS)
    title = titles.title_for(reading.version.document, parsed)
    texts = [embedding_text(title, passage) for passage in passages]
    return Member(reading, parsed, passages, texts)


def _attempt(job: Lease | Reading, ahead: ReadAhead) -> None:
    """Raises :class:`StillBeingRead` only."""
    lease = job.lease if isinstance(job, Reading) else job
    try:
        ingest(job, ahead)
    except StillBeingRead:
        raise
    except LeaseLost:
        logger.info("job %s is no longer ours", lease.job_id)
    except Stopping:
        _put_back(lease, 0)
    except (ServiceAway, EngineStopped) as error:
        logger.warning("job %s: the models are away: %s", lease.job_id, error)
        _let_go(lease, code="models_away", message=MODELS_AWAY, remedy=AGAIN)
    except NotReady:
        _put_back(lease, MODELS_WAIT_SECONDS)
    except Overloaded as error:
        _put_back(lease, error.retry_after_s)
    except IngestionFailure as failure:
        logger.info("job %s: %s", lease.job_id, failure.code)
        lease.fail(code=failure.code, message=str(failure), remedy=failure.remedy)
    except InferenceError as error:
        logger.warning("job %s: the embedder failed: %s", lease.job_id, error)
        lease.fail(code="embedding_failed", message=str(error), remedy=error.hint or "Try again later.")
    except IndexAway as error:
        logger.warning("job %s: the index is away: %s", lease.job_id, error)
        _let_go(lease, code="index_away", message=error.message, remedy=AGAIN)
    except files.StorageAway as error:
        logger.warning("job %s: the file storage is away: %s", lease.job_id, error.__cause__)
        _let_go(lease, code="storage_away", message=str(error), remedy=AGAIN)
    except IndexFailure as error:
        logger.warning("job %s: the index failed: %s", lease.job_id, error)
        lease.fail(
            code="index_failed", message=str(error), remedy=getattr(error, "hint", "") or "Try again later."
        )
    except FileNotFoundError:
        lease.fail(
            code="file_missing", message="The uploaded file is no longer there.", remedy="Upload it again."
        )
    except (OperationalError, InterfaceError):
        logger.exception("job %s: the database failed", lease.job_id)
        _let_go(lease)
    except Exception:
        logger.exception("job %s failed", lease.job_id)
        lease.fail(
            code="internal",
            message="Something went wrong on our side while this file was read.",
            remedy="Try again; the operator finds the details in the server's log.",
        )


def ingest(job: Lease | Reading, ahead: ReadAhead) -> None:
    """The stages in order. Raises what :func:`_attempt` turns into states."""
    embedder = runtime.current().embedder
    reading = job if isinstance(job, Reading) else ahead.begin(job)
    lease, version = reading.lease, reading.version
    parsed = ahead.document(reading)
    passages = chunk(
        parsed,
        tokenizer=embedder.tokenizer,
        max_tokens=CHUNK_TOKENS,
        on_progress=_reporter(lease, Stage.PARSING, len(parsed.pages), ahead),
    )
    title = titles.title_for(version.document, parsed)
    vectors = _embed(lease, embedder, title, passages, ahead)
    until_written = seconds_to_write(len(passages) + len(parsed.pages))
    lease.renew(stage=Stage.INDEXING, done=0, total=len(passages), seconds=until_written)
    again = write_rows(lease, version, parsed, passages, vectors, embedder.name)
    report = _reporter(lease, Stage.INDEXING, len(passages), ahead)
    corpus.index_version(lease.organization, version.id, again=again, on_batch=report)
    publish(lease, version)


def embedding_text(title: str, passage: TextChunk) -> str:
    """What is embedded: title and headings, and the first row of a table that the passage goes on with, give it the
    context that its own words may lack. Of a long path both ends stay: the title and the nearest heading."""
    path = " > ".join(dict.fromkeys([title, *passage.headings]))
    if len(path) > LONGEST_PATH:
        path = f"{path[: LONGEST_PATH // 2 - 2]} … {path[1 - LONGEST_PATH // 2 :]}"
    return "\n".join(filter(None, [path, passage.lead, passage.text]))


def _embed(
    lease: Lease, embedder: Embedder, title: str, passages: Sequence[TextChunk], ahead: ReadAhead
) -> Vectors:
    """``[n, dimension]``."""
    total = len(passages)
    lease.renew(stage=Stage.EMBEDDING, done=0, total=total)
    if not passages:
        return np.empty((0, embedder.dimension), dtype=np.float32)
    texts = [embedding_text(title, passage) for passage in passages]
    return embedder.embed_passages(texts, on_batch=_reporter(lease, Stage.EMBEDDING, total, ahead))


def _reporter(lease: Lease, stage: str, total: int, ahead: ReadAhead) -> Callable[[int], None]:
    """What a long stage calls with how much of it is done: records it and keeps the lease, twice a second, and sees to
    those that are read ahead."""
    told = time.monotonic()

    def report(done: int) -> None:
        nonlocal told

        def record() -> None:
            lease.renew(stage=stage, done=done, total=total)

        if done == total or time.monotonic() - told >= PROGRESS_SECONDS:
            record()
            told = time.monotonic()
        ahead.meanwhile(lease, record)

    return report


def _put_back(lease: Lease, seconds: float) -> None:
    try:
        lease.put_back(seconds=seconds)
    except LeaseLost:
        logger.info("job %s ended elsewhere before it was put back", lease.job_id)


def _let_go(lease: Lease, **why: str) -> None:
    """Counts an interruption, not an attempt: a database, an index or a storage that went away says nothing about the
    file."""
    if not connection.is_usable():
        connection.close()  # the next statement opens another
    try:
        lease.let_go(**why)
    except (OperationalError, InterfaceError):
        logger.warning("job %s waits until its lease runs out", lease.job_id)


_stopping: Callable[[], bool] = lambda: False  # noqa: E731 replaced by the worker of this process


def worker_is_stopping() -> bool:
    """Whether the worker of this process was told to stop."""
    return _stopping()


def ask_before_each_step(stopping: Callable[[], bool]) -> None:
    """Sets what :func:`worker_is_stopping` asks in this process."""
    global _stopping
    _stopping = stopping
