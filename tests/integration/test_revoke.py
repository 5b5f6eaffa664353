"""Celery's own ways to end a job: `revoke`, with and without `terminate`, and the header `expires`."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import wait_until_ready
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client, JobLimits, JobResult, JobStatus
from imagefleet.queues import Keys

JOB: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "metadata": {"order": 7}}
LONG = 900  # steps


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two image workers that make one job at a time, and a sender of webhooks."""
    one_at_a_time = {
        "IMAGEFLEET_ENGINE_MODE": "off",
        "IMAGEFLEET_WORKER_CONCURRENCY": "1",
        "IMAGEFLEET_LIMIT_MAX_STEPS": "900",
    }
    with running_fleet(tmp_path_factory.mktemp("revoke"), env=one_at_a_time) as fleet:
        started = [fleet.start("gpu0"), fleet.start("gpu1")]
        started.append(fleet.start("hooks", options=("-Q", "imagefleet.webhooks", "-c", "4")))
        for each in started:
            wait_until_ready(each)
        yield fleet


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

    assert client.result(job_id, timeout_s=20).status is JobStatus.CANCELED
