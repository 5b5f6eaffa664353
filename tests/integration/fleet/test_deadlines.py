"""Deadlines: a job that nobody waits for any more ends, wherever it is, and whoever is there to notice."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.fleet.fleet import Fleet
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobLimits, JobStatus
from imagefleet.store.keys import Keys

JOB: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "metadata": {"order": 7}}
LONG = 900  # steps
KEYS = Keys()


@pytest.fixture
def fleet(busy_fleet: Fleet) -> Fleet:
    return busy_fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.redis.url, limits=JobLimits(max_steps=LONG)) as client:
        yield client


def soon(seconds: float) -> datetime:
    """A moment in the future."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_queued_job_ends_at_its_deadline_while_all_workers_are_busy(
    fleet: Fleet, client: Client, receiver: Receiver
) -> None:
    """Nobody has to ask: status and webhook follow within seconds, and no worker makes it later."""
    busy = client.submit_many([{**JOB, "steps": LONG}] * 2)
    wait_until(lambda: all(client.get(each).progress for each in busy), 30)
    job_id = client.submit(JOB, webhook={"url": receiver.url}, deadline=soon(0.5))

    (request,) = receiver.wait_for(1, 15)

    assert b'"job.expired"' in request.body
    assert [client.cancel(each) for each in busy] == [JobStatus.RUNNING] * 2  # no worker had been free meanwhile
    result = client.result(job_id, timeout_s=5)
    assert (result.status, result.attempts, result.metadata) == (JobStatus.EXPIRED, 0, {"order": 7})
    assert result.error
    assert result.error.code == "expired"
    assert {result.status for result in client.as_completed(busy, timeout_s=30)} == {JobStatus.CANCELED}
    after = client.submit(JOB)
    assert client.result(after, timeout_s=30).status is JobStatus.SUCCEEDED
    assert client.result(job_id).attempts == 0
    with fleet.raw() as raw:
        assert raw.zscore(KEYS.deadlines, job_id) is None


def test_a_running_job_stops_at_its_deadline(fleet: Fleet, client: Client) -> None:
    """Within a step: nothing is decoded or stored, and the worker goes on."""
    job_id = client.submit({**JOB, "steps": LONG}, deadline=soon(1.5))
    seen = [event.progress for event in client.events(job_id, timeout_s=30) if event.progress]

    result = client.result(job_id)

    assert (result.status, result.attempts, result.metadata) == (JobStatus.EXPIRED, 1, {"order": 7})
    assert seen
    assert seen[-1].done < LONG
    assert not any(job_id in key for key in list(fleet.s3.keys()))
    assert client.result(client.submit(JOB), timeout_s=30).status is JobStatus.SUCCEEDED


def test_where_no_worker_lives_a_client_that_asks_ends_the_job(redis_url: str) -> None:
    """At once where it looks, and within the silence after which a waiting one looks again."""
    with Client(redis_url) as client:
        looked_at, waited_for = client.submit_many([{**JOB, "deadline": soon(0.3)}] * 2)
        assert client.status(looked_at) is JobStatus.QUEUED

        assert client.result(waited_for, timeout_s=10).status is JobStatus.EXPIRED
        assert client.status(looked_at) is JobStatus.EXPIRED

        async def status() -> JobStatus:
            async with AsyncClient(redis_url) as twin:
                return await twin.status(await twin.submit(JOB, deadline=soon(-1)))

        assert asyncio.run(status()) is JobStatus.EXPIRED


def test_a_deadline_is_forgotten_with_its_job(redis_url: str) -> None:
    """What has ended is not looked at again."""
    with Client(redis_url) as client:
        job_id = client.submit(JOB, deadline=soon(3600))
        assert client.get(job_id).deadline
        client.cancel(job_id)
        assert client.get(job_id).deadline is None
