"""The Celery tasks: each turns a request into a call, and its outcome into what Celery understands."""

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import redis
from celery import Task
from celery.exceptions import Ignore
from pydantic import ValidationError

from imagefleet.contract.queues import (
    DELIVER_TASK,
    FINGERPRINT_HEADER,
    GENERATE_TASK,
    LOST_WORKERS_HEADER,
    REDELIVERIES_HEADER,
)
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet.errors import JobFailed, described
from imagefleet.store.records import Claim
from imagefleet.tracing import HEADERS
from imagefleet_worker.app import app
from imagefleet_worker.errors import WorkerError
from imagefleet_worker.jobs.message import NO_FINGERPRINT, Message
from imagefleet_worker.observability import tracing
from imagefleet_worker.process.celery_results import revoke
from imagefleet_worker.process.current import current
from imagefleet_worker.process.revoke import DeliveryRequest, JobRequest
from imagefleet_worker.process.start_check import TimeLimits
from imagefleet_worker.queue.lost_workers import losses_in

#: How long a delivery waits that Redis did not let through.
_REDIS_PAUSE_S: Final = 1.0


@app.task(name=GENERATE_TASK, bind=True, throws=(JobFailed,), Request=JobRequest)
def generate(self: "Task[Any, Any]", *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Run one job; its return value, the result as JSON types, is what `link` callbacks receive.

    Raises:
        JobFailed: If the job ended without images, so that `link_error` callbacks run.
        Ignore: If the job has not ended, because it waits for its next attempt or belongs to another worker; or if it
            ended while it waited, and Celery knows it as revoked.
    """
    process, claim, began = current(), claim_of(self.request), time.time()
    message = Message(
        job_id=str(self.request.id),
        claim=claim,
        redeliveries=int(self.request.get(REDELIVERIES_HEADER) or 0),
        losses=losses_in(self.request.get(LOST_WORKERS_HEADER)),
        kwargs={"args": args, **kwargs} if args else kwargs,
        fingerprint=str(self.request.get(FINGERPRINT_HEADER) or NO_FINGERPRINT),
        expires=_moment(self.request.expires),
        time_limit_s=_time_limit_s(self, default=process.time_limits),
        started=process.leases.started(claim.token),
        is_awaited=_is_awaited(self.request),
    )
    with tracing.attempt(
        _trace_of(self.request), job_id=message.job_id, model=process.model, device=process.device_name
    ):
        with _kept(claim.token):
            result = process.runner.run(message)
        if result:
            tracing.record_timings(result, began=began)
    if result is None:
        process.leases.leave(claim.token)
        raise Ignore
    if _ended_waiting(result):
        revoke(self.backend, self.request, _sentence(result), is_stored=not self.request.ignore_result)
        raise Ignore
    if result.status is not JobStatus.SUCCEEDED:
        raise JobFailed(_sentence(result))
    return result.model_dump(mode="json")


@app.task(name=DELIVER_TASK, bind=True, ignore_result=True, Request=DeliveryRequest)
def deliver(self: "Task[Any, Any]", *_: Any, **kwargs: Any) -> None:
    """Deliver one webhook, postpone it to a later try, or make a dead letter of it.

    Raises:
        Ignore: If it has been postponed, is a dead letter, or is another sender's.
    """
    process, claim = current(), claim_of(self.request)
    if not process.leases.is_held(claim.token):  # given back since: another sender delivers it
        raise Ignore
    try:
        with tracing.delivery(_trace_of(self.request), event_id=str(self.request.id)):
            is_postponed = process.webhook_sender.send(kwargs.get("delivery"), claim=claim, now=time.time())
    except redis.RedisError as error:  # it may have been sent: its receiver knows a repetition by the id
        process.leases.postpone(claim.token, due_in_s=_REDIS_PAUSE_S)
        raise Ignore from error
    except ValidationError as error:
        process.refusals.put_away(claim.token, "malformed", f"no delivery: {describe_validation_error(error)}")
        raise Ignore from error
    except Exception as error:
        process.refusals.put_away(
            claim.token, WorkerError.code, f"{described(error)}; a fault of imagefleet, please report it"
        )
        raise Ignore from error
    if is_postponed:
        raise Ignore


@contextmanager
def _kept(token: str) -> Generator[None]:
    """Let no message be acknowledged without a reason: what is raised in the block makes it a dead letter.

    Raises:
        Ignore: If anything is raised.
    """
    try:
        yield
    except Exception as error:
        current().refusals.failed(token, error)
        raise Ignore from error


def _ended_waiting(result: JobResult) -> bool:
    """Whether the job was canceled, or its deadline passed, while no worker had it."""
    return result.status in (JobStatus.CANCELED, JobStatus.EXPIRED) and not result.attempts


def _sentence(result: JobResult) -> str:
    return f"{result.error.code}: {result.error.message}" if result.error else result.status.value


def _time_limit_s(task: "Task[Any, Any]", *, default: TimeLimits) -> float:
    """The seconds that an attempt may take: by its message, else by `control time_limit`, else by *default*.

    Of the hard and the soft limit the shorter one counts.
    """
    hard, soft = task.request.timelimit or (None, None)
    limits = (hard or task.time_limit or default.hard, soft or task.soft_time_limit or default.soft)
    return min(filter(None, limits), default=math.inf)


def _moment(expires: Any) -> datetime | None:
    """The header `expires`, checked to be ISO 8601; Celery sends UTC, and other senders may leave out the zone."""
    moment = datetime.fromisoformat(str(expires)) if expires else None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _is_awaited(request: Any) -> bool:
    """Whether Celery itself does something with the end; then the message must outlive it."""
    return not request.ignore_result or any((request.callbacks, request.errbacks, request.chain, request.chord))


def claim_of(request: Any) -> Claim:
    """What the worker shows for the message of *request*."""
    return current().leases.claim_for((request.properties or {}).get("delivery_tag", ""))


def _trace_of(request: Any) -> dict[str, Any]:
    return {name: request.get(name) for name in HEADERS}
