"""A managed Redis fails over behind a fixed address: the old primary stays up, refuses writes, and keeps connections.

Two real servers behind a proxy. Clients and workers keep their connections through it, and none is cut.
"""

import asyncio
import threading
import time
from collections.abc import Generator

import pytest
from celery import Celery
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.servers.redis_pair import RedisPair
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobStatus
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import RedisSettings

pytestmark = pytest.mark.timeout(120)
WITHIN_S = 8.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisPair]:
    with RedisPair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, pair: RedisPair) -> Generator[Fleet]:
    """One image worker and one sender on the pair."""
    slow = {"FAULTS_FORWARD_S": "0.05", "IMAGEFLEET_REDIS_URL": pair.url}
    with running_fleet(tmp_path_factory.mktemp("fleet"), env=slow) as fleet:
        worker = fleet.start("gpu0", options=("-I", "tests.support.devices.slow_device"))
        fleet.sender()
        wait_until(lambda: " ready." in worker.output(), 90)
        yield fleet


def measured(what: str, seconds: float) -> None:
    """Print a time for the table of faults."""
    print(f"measured {what}: {seconds:.1f} s")


def test_a_job_that_runs_and_jobs_that_follow_succeed_once(fleet: Fleet, pair: RedisPair) -> None:
    """The running job's events go on, its result is stored, and the worker claims what is submitted then."""
    with Client(pair.url) as client:
        running = client.submit("a fox", steps=60)
        seen = client.events(running, timeout_s=60)
        assert any(event.progress for event in seen)

        pair.fail_over()
        began = time.monotonic()
        after = client.submit("a hare")
        measured("fail-over, until a client has submitted", time.monotonic() - began)
        result = client.result(after, timeout_s=30)
        measured("fail-over, until a job that was submitted then has ended", time.monotonic() - began)

        assert [event.status for event in seen][-1] is JobStatus.SUCCEEDED
        assert (result.status, result.attempts) == (JobStatus.SUCCEEDED, 1)
        assert client.result(running, timeout_s=5).attempts == 1
        assert client.queue_length() == 0


def test_an_idle_worker_notices_a_job_after_a_fail_over(fleet: Fleet, pair: RedisPair) -> None:
    """Its old server follows nobody, so that no notification ever comes from there."""
    with Client(pair.url) as client:
        client.result(client.submit("a fox", steps=2), timeout_s=30)

        pair.fail_over()
        pair.isolate_replica()
        began = time.monotonic()
        result = client.result(client.submit("a hare", steps=2), timeout_s=30)
        measured("fail-over of an idle fleet, until a job has ended", time.monotonic() - began)

    assert result.status is JobStatus.SUCCEEDED
    assert time.monotonic() - began < WITHIN_S
    pair.follow_again()


def test_an_asyncio_client_submits_and_watches_through_a_fail_over(fleet: Fleet, pair: RedisPair) -> None:
    """With many idle connections to the old primary."""

    async def session() -> list[JobStatus]:
        async with AsyncClient(pair.url) as client:
            ids = await asyncio.gather(*(client.submit("a fox", steps=2) for _ in range(8)))
            await asyncio.to_thread(pair.fail_over)
            ids += await asyncio.gather(*(client.submit("a hare", steps=2) for _ in range(8)))
            return [(await client.result(each, timeout_s=40)).status for each in ids]

    assert asyncio.run(session()) == [JobStatus.SUCCEEDED] * 16


def test_a_celery_app_gets_its_result_through_a_fail_over(fleet: Fleet, pair: RedisPair) -> None:
    """Celery's own result backend in the worker leaves the old primary, too."""
    app = Celery(broker=pair.url, backend=pair.url)
    app.conf.task_default_queue = "imagefleet.default"
    first = app.send_task("imagefleet.generate", kwargs={"job": {"prompt": "a fox", "steps": 2}})
    first.get(timeout=30)  # the worker's backend has a connection now, and it leads to the old primary
    sent = app.send_task("imagefleet.generate", kwargs={"job": {"prompt": "a fox", "steps": 40}})
    with connect(RedisSettings(url=pair.url)) as raw:
        wait_until(lambda: raw.hget(Keys().job(sent.id), "status") == "running", 20)
    pair.fail_over()

    app.close()  # the producer's own connections are not ours to mend
    with Celery(broker=pair.url, backend=pair.url) as fresh:
        assert fresh.AsyncResult(sent.id).get(timeout=40)["status"] == "succeeded"


def test_many_connections_of_a_worker_leave_together(pair: RedisPair) -> None:
    """More idle connections than redis-py has tries."""
    with connect(RedisSettings(url=pair.url)) as client:
        barrier = threading.Barrier(6)

        def ping() -> None:
            with client.pipeline() as pipe:
                barrier.wait(10)
                pipe.ping().execute()

        threads = [threading.Thread(target=ping) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(10)
        pair.fail_over()

        assert client.set("imagefleet-test", "1")
