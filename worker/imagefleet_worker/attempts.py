"""Attempts: one run of a job as Redis sees it, from the claimed message to a recorded end or another attempt later."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog

from imagefleet import deliveries, notes, records
from imagefleet.announcements import announce
from imagefleet.errors import ImageFleetError, InvalidJob
from imagefleet.jobs import GenerationJob, Webhook
from imagefleet.queues import Keys
from imagefleet.records import Claim
from imagefleet.results import FinalStatus, JobError, JobResult, JobStatus
from imagefleet_worker import runs
from imagefleet_worker.claims import Begun
from imagefleet_worker.errors import DeviceFault, JobCanceled, JobExpired, LeaseLost, Poisoned, WorkerError
from imagefleet_worker.flights import Flight, Flights
from imagefleet_worker.generation import Circumstances, Studio, generate
from imagefleet_worker.leases import Leases
from imagefleet_worker.metrics import Metrics
from imagefleet_worker.orders import parse, salvage_webhook
from imagefleet_worker.patience import Patience
from imagefleet_worker.progress import ProgressBoard, Reporter
from imagefleet_worker.settings import Settings
from imagefleet_worker.updates import Updates

log = structlog.get_logger(__name__)

_STATUS_OF: dict[str, FinalStatus] = {JobCanceled.code: JobStatus.CANCELED, JobExpired.code: JobStatus.EXPIRED}


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message, as far as an attempt needs it."""

    job_id: str
    claim: Claim
    redeliveries: int
    #: The kwargs of the task: nothing about them is known yet.
    kwargs: Mapping[str, Any]
    #: Celery's own deadline, where the message has one.
    expires: datetime | None = None
    #: How the job began as it was claimed; None where it has not begun.
    begun: Begun | None = None
    #: Whether Celery tells somebody of the end, so that the message must outlive it.
    is_awaited: bool = True


@dataclass(frozen=True, slots=True)
class Desk:
    """What every attempt of this process shares."""

    settings: Settings
    keys: Keys
    studio: Studio
    flights: Flights
    board: ProgressBoard
    redis: Patience
    metrics: Metrics
    leases: Leases
    #: Puts a claimed message among the dead letters, with a code, a sentence and the number of attempts.
    bury: Callable[[Message, str, str, int], None]
    #: Ends this process, which can make no more images; its jobs are redelivered, each alone.
    abandon: Callable[[str], NoReturn]


def attempt(message: Message, *, desk: Desk) -> JobResult | None:
    """Run the job of *message* once.

    Returns:
        How the job ended, recorded; or None where it has not: it is to be tried again later, or is another worker's.
    """
    with desk.flights.boarding(Flight(message.job_id, claim=message.claim)) as flight:
        try:
            return _run(message, flight=flight, desk=desk)
        except LeaseLost as error:
            log.warning("job left to another worker", job_id=message.job_id, reason=error.message)
            return None


def refuse(message: Message, error: ImageFleetError, *, desk: Desk) -> JobResult | None:
    """Record the end of a job that is never to be run, because of *error*; None where it is another worker's."""
    with desk.flights.boarding(Flight(message.job_id, claim=message.claim)) as flight:
        try:
            job = parse(message.job_id, message.kwargs, settings=desk.settings)
            webhook = job.webhook
        except InvalidJob:
            job, webhook = None, salvage_webhook(message.kwargs)
        try:
            return _end(_failure(message, error, job=job), message, webhook=webhook, flight=flight, desk=desk)
        except LeaseLost:
            return None


def _run(message: Message, *, flight: Flight, desk: Desk) -> JobResult | None:
    try:
        job = parse(message.job_id, message.kwargs, settings=desk.settings)
    except InvalidJob as error:
        webhook = salvage_webhook(message.kwargs)
        return _end(_failure(message, error), message, webhook=webhook, flight=flight, desk=desk)
    lease = desk.settings.lease
    if message.redeliveries >= lease.max_deliveries:
        error = Poisoned(f"{message.redeliveries} workers fell silent while running this job; see the dead letters")
        desk.bury(message, error.code, error.message, message.redeliveries)
        return _end(_failure(message, error, job=job), message, webhook=job.webhook, flight=flight, desk=desk)
    begun = message.begun or _start(message, flight=flight, desk=desk)
    if begun is None:
        return _recorded(message.job_id, desk=desk, flight=flight)
    attempts, queued_s = begun
    flight.deadline = min(filter(None, (job.deadline, message.expires)), default=None)
    if job.group and not message.begun:  # what a client has queued is in its group
        desk.redis.execute(notes.enlist(desk.keys, message.job_id, group=job.group), flight=flight)
    interval_s = desk.settings.webhook.progress_interval_s
    updates = Updates(message.job_id, job, attempts=attempts, worker=desk.studio.worker, interval_s=interval_s)
    if not flight.is_canceled and (delivery := updates.running()):
        desk.redis.execute(deliveries.push(desk.keys, delivery), flight=flight)
    reporter = Reporter(message.job_id, board=desk.board, metrics=desk.metrics, updates=updates)
    alone = message.redeliveries > 0
    circumstances = Circumstances(attempts, queued_s, alone=alone, on_step=reporter.step, on_preview=reporter.preview)
    return _make(message, job, flight=flight, desk=desk, circumstances=circumstances)


def _start(message: Message, *, flight: Flight, desk: Desk) -> Begun | None:
    """Mark the job as running; None where it has ended already."""
    worker, model = desk.studio.worker, desk.settings.model.alias
    command = runs.start(desk.keys, message.job_id, claim=message.claim, worker=worker, model=model)
    verdict, *details = desk.redis.execute(command, flight=flight)
    if verdict == "lost":
        raise LeaseLost("the lease was gone before the job began")
    if verdict == "ended":
        return None
    if verdict == "canceled":
        flight.cancel()
    return Begun(int(details[0]), max(float(details[1]), 0.0))


def _make(
    message: Message, job: GenerationJob, *, flight: Flight, desk: Desk, circumstances: Circumstances
) -> JobResult | None:
    try:
        flight.check()
        result = generate(job, flight=flight, studio=desk.studio, circumstances=circumstances)
    except LeaseLost:
        raise
    except DeviceFault as error:
        desk.abandon(error.message)
    except ImageFleetError as error:
        pause_s = _pause_s(error, attempts=circumstances.attempts, desk=desk)
        if pause_s is not None:
            log.warning("job postponed", job_id=message.job_id, reason=str(error), pause_s=round(pause_s, 1))
            desk.leases.postpone(message.claim.token, due_in_s=pause_s)
            return None
        result = _failure(message, error, job=job, attempts=circumstances.attempts, worker=desk.studio.worker)
    except Exception as error:  # a fault of ours must not leave a job that never ends
        log.exception("job failed as nobody foresaw", job_id=message.job_id)
        problem = WorkerError(f"{type(error).__name__}: {error}; a fault of imagefleet, please report it")
        result = _failure(message, problem, job=job, attempts=circumstances.attempts, worker=desk.studio.worker)
    return _end(result, message, webhook=job.webhook, flight=flight, desk=desk)


def _pause_s(error: ImageFleetError, *, attempts: int, desk: Desk) -> float | None:
    """How long to wait for the next attempt, with full jitter; None where there is to be none."""
    if not (isinstance(error, WorkerError) and error.retryable):
        return None
    worker = desk.settings.worker
    longest = worker.retry_base_s * 2**attempts
    return random.uniform(longest / 2, longest) if longest <= worker.retry_for_s else None  # noqa: S311  # no secret


def _failure(
    message: Message,
    error: ImageFleetError,
    *,
    job: GenerationJob | None = None,
    attempts: int = 0,
    worker: str | None = None,
) -> JobResult:
    retryable = isinstance(error, WorkerError) and error.retryable
    return JobResult(
        id=message.job_id,
        status=_STATUS_OF.get(error.code, JobStatus.FAILED),
        error=JobError(code=error.code, message=error.message, retryable=retryable),
        attempts=attempts or message.redeliveries,
        worker=worker,
        model=job.model if job else None,
        finished_at=datetime.now(UTC),
        metadata=job.metadata if job else {},
    )


def _end(result: JobResult, message: Message, *, webhook: Webhook | None, flight: Flight, desk: Desk) -> JobResult:
    """Record *result*, tell who listens and queue its webhook, in one step; where nobody else waits, the claim ends."""
    event, outgoing = announce(result, webhook=webhook, keys=desk.keys)
    if not message.is_awaited:
        desk.leases.will_end(flight.claim.token)
    command = runs.finish(
        desk.keys,
        result.id,
        claim=flight.claim,
        status=result.status,
        result=result.model_dump_json(),
        event=event,
        ttl_s=desk.settings.redis.result_ttl_s,
        ends_claim=not message.is_awaited,
        outgoing=outgoing,
    )
    verdict = desk.redis.execute(command, flight=flight)
    if verdict == "lost":
        raise LeaseLost("the lease was gone when the job had ended")
    if verdict != "recorded":
        return _recorded(result.id, desk=desk, flight=flight) or result
    if not message.is_awaited:
        desk.leases.has_ended(flight.claim.token)
    desk.metrics.job_ended(result)
    log.info(
        "job ended",
        job_id=result.id,
        status=result.status.value,
        error=result.error.code if result.error else None,
        attempts=result.attempts,
        **{name: round(seconds, 3) for name, seconds in result.timings.model_dump().items() if seconds},
    )
    return result


def _recorded(job_id: str, *, desk: Desk, flight: Flight) -> JobResult | None:
    """The result of a job that had ended before: Celery's callbacks get it again."""
    (stored,) = desk.redis.execute(records.read(desk.keys, job_id, "result"), flight=flight)
    return JobResult.model_validate(json.loads(stored)) if stored else None
