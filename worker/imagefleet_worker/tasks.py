"""The Celery tasks: glue that turns a request into a call, and its outcome into what Celery understands."""

import time
from datetime import UTC, datetime
from typing import Any

from celery import Task
from celery.exceptions import Ignore
from pydantic import ValidationError

from imagefleet.errors import JobFailed
from imagefleet.queues import DELIVER_TASK, GENERATE_TASK, REDELIVERIES_HEADER
from imagefleet.records import Claim
from imagefleet.results import JobStatus
from imagefleet.tracing import HEADERS
from imagefleet_worker import lifecycle, tracing
from imagefleet_worker.app import app
from imagefleet_worker.revocation import JobRequest
from imagefleet_worker.sending import send


@app.task(name=GENERATE_TASK, bind=True, throws=(JobFailed,), Request=JobRequest)
def generate(self: "Task[Any, Any]", *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Run one job; its return value, the result as JSON types, is what `link` callbacks receive.

    Raises:
        JobFailed: for a job that ended without images, so that `link_error` callbacks run.
        Ignore: for a job that has not ended: it waits for its next attempt, or belongs to another worker.
    """
    from imagefleet_worker.attempts import Message, attempt  # noqa: PLC0415  # torch; a sender of webhooks has none

    claim = claim_of(self.request)
    message = Message(
        job_id=str(self.request.id),
        claim=claim,
        redeliveries=int(self.request.get(REDELIVERIES_HEADER) or 0),
        kwargs={"args": args, **kwargs} if args else kwargs,
        expires=_moment(self.request.expires),
        begun=lifecycle.begun(claim.token),
        is_awaited=_is_awaited(self.request),
    )
    desk, began = lifecycle.desk(), time.time()
    studio = desk.studio
    with tracing.attempt(
        _trace_of(self.request), job_id=message.job_id, model=studio.model.alias, device=studio.engine.device_name
    ):
        result = attempt(message, desk=desk)
        if result:
            tracing.tell(result, began=began)
    if result is None:
        raise Ignore
    if result.status is not JobStatus.SUCCEEDED:
        error = result.error
        raise JobFailed(f"{error.code}: {error.message}" if error else result.status.value)
    return result.model_dump(mode="json")


@app.task(name=DELIVER_TASK, bind=True, ignore_result=True)
def deliver(self: "Task[Any, Any]", delivery: Any = None) -> None:
    """Deliver one webhook, or put it back for a later try.

    Raises:
        Ignore: where it is to be tried again later.
    """
    try:
        with tracing.delivery(_trace_of(self.request), event_id=str(self.request.id)):
            again = send(delivery, claim=claim_of(self.request), counter=lifecycle.counter(), now=time.time())
    except ValidationError as error:
        raise JobFailed(f"invalid_delivery: {error.error_count()} fields are wrong") from error
    if again:
        raise Ignore


def _moment(expires: Any) -> datetime | None:
    """The header `expires`, which intake has seen to be ISO 8601; Celery sends UTC, and others may leave that out."""
    moment = datetime.fromisoformat(str(expires)) if expires else None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _is_awaited(request: Any) -> bool:
    """Whether Celery itself does something with the end: then the message must be there until that is done."""
    return not request.ignore_result or any((request.callbacks, request.errbacks, request.chain, request.chord))


def claim_of(request: Any) -> Claim:
    """What the worker shows for the message of *request*."""
    return lifecycle.claim_for((request.properties or {}).get("delivery_tag", ""))


def _trace_of(request: Any) -> dict[str, Any]:
    return {name: request.get(name) for name in HEADERS}
