"""Celery's own ways to end a job: `revoke`, with and without `terminate`, and the header `expires`."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, signature
from celery.exceptions import TaskRevokedError
from tests.support.fleet.fleet import Fleet
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client, JobLimits, JobResult, JobStatus
from imagefleet.store.keys import Keys

JOB: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "metadata": {"order": 7}}
LONG = 900  # steps


@pytest.fixture
def fleet(busy_fleet: Fleet) -> Fleet:
    return busy_fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.redis.url, limits=JobLimits(max_steps=LONG)) as client:
        yield client


@pytest.fixture
def app(fleet: Fleet) -> Iterator[Celery]:
    """A Celery app that knows nothing of this package."""
    app = Celery("foreign", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def busy(client: Client) -> Iterator[list[str]]:
    """Both workers are occupied."""
    ids = client.submit_many([{**JOB, "steps": LONG}] * 2)
    wait_until(lambda: all(client.get(job_id).progress for job_id in ids), 30)
    yield ids
    for job_id in ids:
        client.cancel(job_id)
        client.result(job_id, timeout_s=30)


def send(app: Celery, job: dict[str, Any], **options: Any) -> str:
    """Queue *job* as any Celery app does."""
    return str(app.send_task("imagefleet.generate", kwargs={"job": job}, queue="imagefleet.default", **options).id)


def ended(client: Client, fleet: Fleet, job_id: str) -> JobResult:
    """How a job ended that may have no record yet."""
    with fleet.raw() as raw:
        wait_until(lambda: raw.exists(Keys().job(job_id)), 30)
    return client.result(job_id, timeout_s=30)


def test_revoke_ends_queued_jobs_at_once(client: Client, app: Celery, receiver: Receiver, busy: list[str]) -> None:
    """Status, event, webhook and labels, while every worker is busy; and nobody runs them later."""
    plain, terminated = client.submit_many([{**JOB, "steps": 2, "webhook": {"url": receiver.url}}] * 2)

    app.control.revoke(plain)
    app.control.revoke([terminated], terminate=True)

    for result in client.as_completed([plain, terminated], timeout_s=10):
        assert (result.status, result.attempts, result.metadata) == (JobStatus.CANCELED, 0, {"order": 7})
    assert all(b'"job.canceled"' in request.body for request in receiver.wait_for(2, 20))
    assert JobStatus.RUNNING in {client.status(each) for each in busy}
    with pytest.raises(TaskRevokedError):
        app.AsyncResult(plain).get(timeout=10)


@pytest.mark.parametrize("terminate", [False, True])
def test_revoke_stops_a_running_job_and_no_other(
    client: Client, app: Celery, fleet: Fleet, receiver: Receiver, *, terminate: bool
) -> None:
    """On whichever worker it runs; nothing is stored for it, and the workers go on."""
    doomed = client.submit({**JOB, "steps": LONG}, webhook={"url": receiver.url})
    neighbour = client.submit({**JOB, "steps": LONG})
    wait_until(lambda: client.get(doomed).progress and client.get(neighbour).progress, 30)

    app.control.revoke(doomed, terminate=terminate)

    result = client.result(doomed, timeout_s=20)
    assert (result.status, result.metadata) == (JobStatus.CANCELED, {"order": 7})
    assert b'"job.canceled"' in receiver.wait_for(1, 20)[0].body
    assert client.status(neighbour) is JobStatus.RUNNING
    client.cancel(neighbour)
    assert client.result(neighbour, timeout_s=20).status is JobStatus.CANCELED
    assert not any(doomed in key for key in list(fleet.s3.keys()))
    again = client.submit_many([{**JOB, "steps": 2}] * 4)
    assert {JobStatus.SUCCEEDED} == {each.status for each in client.as_completed(again, timeout_s=60)}


def test_revoke_of_a_job_that_no_client_submitted_ends_it_with_its_labels(
    client: Client, app: Celery, fleet: Fleet, receiver: Receiver, busy: list[str]
) -> None:
    """It has no record until a worker claims it; then it ends, and is not run."""
    job_id = send(app, {**JOB, "steps": 2, "webhook": {"url": receiver.url}})

    app.control.revoke(job_id)
    wait_until(lambda: all(job_id in ids for ids in (app.control.inspect().revoked() or {"": []}).values()), 20)
    for each in busy:
        client.cancel(each)

    result = ended(client, fleet, job_id)
    assert (result.status, result.attempts, result.metadata) == (JobStatus.CANCELED, 0, {"order": 7})
    assert b'"order":7' in receiver.wait_for(1, 20)[0].body


def test_a_job_that_our_client_cancels_while_it_waits_is_revoked_for_the_app_that_sent_it(
    client: Client, app: Celery, fleet: Fleet
) -> None:
    """Nobody runs it, `get` does not wait for ever, and `link_error` is called."""
    link_error = signature("foreign.failed", queue="canceled", app=app)
    job_id = send(app, {**JOB, "steps": 2}, countdown=2, link_error=link_error)
    with fleet.raw() as raw:
        wait_until(lambda: raw.exists(Keys().job(job_id)), 10)

        assert client.cancel(job_id) is JobStatus.CANCELED

        with pytest.raises(TaskRevokedError, match="canceled: "):
            app.AsyncResult(job_id).get(timeout=20)
        assert client.get(job_id).attempts == 0
        assert wait_until(lambda: raw.rpop("canceled"), 10)


def test_revoke_after_success_changes_nothing(client: Client, app: Celery) -> None:
    job_id = send(app, {**JOB, "steps": 2})
    assert app.AsyncResult(job_id).get(timeout=60)["status"] == "succeeded"

    app.control.revoke(job_id, terminate=True, reply=True, timeout=2)

    assert client.cancel(job_id) is JobStatus.SUCCEEDED
    assert app.AsyncResult(job_id).get(timeout=5)["status"] == "succeeded"


def test_a_message_past_its_expires_ends_as_expired(
    client: Client, app: Celery, fleet: Fleet, receiver: Receiver, busy: list[str]
) -> None:
    """Celery's own header, with status, webhook and labels."""
    job_id = send(app, {**JOB, "steps": 2, "webhook": {"url": receiver.url}}, expires=0.5)
    late = datetime.now(UTC) + timedelta(seconds=0.5)
    wait_until(lambda: datetime.now(UTC) > late)
    for each in busy:
        client.cancel(each)

    result = ended(client, fleet, job_id)

    assert (result.status, result.attempts, result.metadata) == (JobStatus.EXPIRED, 0, {"order": 7})
    assert b'"job.expired"' in receiver.wait_for(1, 20)[0].body


def test_a_running_job_stops_at_the_expires_of_its_message(client: Client, app: Celery, fleet: Fleet) -> None:
    """Nobody waits for it any more."""
    job_id = send(app, {**JOB, "steps": LONG}, expires=1.5)

    result = ended(client, fleet, job_id)

    assert (result.status, result.attempts, result.metadata) == (JobStatus.EXPIRED, 1, {"order": 7})


def test_a_revoke_while_a_worker_is_paused_reaches_it_later(client: Client, app: Celery, fleet: Fleet) -> None:
    """The record remembers what nobody heard."""
    other = fleet.worker("paused", env={"IMAGEFLEET_MODEL_ALIAS": "paused", "IMAGEFLEET_LEASE_DURATION_S": "30"})
    job_id = client.submit({**JOB, "steps": LONG}, model="paused")
    wait_until(lambda: client.get(job_id).progress, 30)
    os.kill(other.pid, signal.SIGSTOP)
    try:
        app.control.revoke(job_id)
        wait_until(lambda: client.get(job_id).cancel_requested, 20)
    finally:
        os.kill(other.pid, signal.SIGCONT)

    try:
        assert client.result(job_id, timeout_s=20).status is JobStatus.CANCELED
    finally:
        other.stop(20)


def test_jobs_with_a_countdown_cost_a_worker_nothing(client: Client, app: Celery, fleet: Fleet) -> None:
    """They wait in Redis, not in a worker: as many as a worker may hold, and more, hold up nobody."""
    waiting = [send(app, {**JOB, "steps": 2}, countdown=3600) for _ in range(40)]

    now = send(app, {**JOB, "steps": 2})

    assert app.AsyncResult(now).get(timeout=30)["status"] == "succeeded"
    assert {queue.name: queue.delayed for queue in client.queues()}["imagefleet.default"] == 40
    assert not any((app.control.inspect().scheduled() or {"": [1]}).values())
    assert {JobStatus.QUEUED} == {client.status(job_id) for job_id in waiting}
    with fleet.raw() as raw:
        assert raw.zcard(Keys().leases) == 0
        raw.delete(Keys().delayed)


def test_a_job_with_a_countdown_starts_within_a_second_of_it(client: Client, app: Celery) -> None:
    due = datetime.now(UTC) + timedelta(seconds=3)
    job_id = send(app, {**JOB, "steps": 2}, eta=due)

    assert app.AsyncResult(job_id).get(timeout=30)["status"] == "succeeded"

    started_at = client.get(job_id).started_at
    assert started_at
    assert timedelta(0) <= started_at - due < timedelta(seconds=1)


def test_revoke_of_a_job_with_a_countdown_ends_it_at_once(
    client: Client, app: Celery, fleet: Fleet, receiver: Receiver
) -> None:
    """And nobody runs it when its time comes, although no worker remembers."""
    due = datetime.now(UTC) + timedelta(seconds=4)
    job_id = send(app, {**JOB, "steps": 2, "webhook": {"url": receiver.url}}, eta=due)
    with fleet.raw() as raw:
        wait_until(lambda: raw.zcard(Keys().delayed) == 1, 10)

        app.control.revoke(job_id)

        result = client.result(job_id, timeout_s=3)
        assert (result.status, result.attempts, result.metadata) == (JobStatus.CANCELED, 0, {"order": 7})
        assert b'"job.canceled"' in receiver.wait_for(1, 20)[0].body
        wait_until(lambda: raw.zcard(Keys().delayed) == 0 and not raw.exists("imagefleet.default"), 10)
        assert client.get(job_id).attempts == 0
