"""A job's outlook on real parts: its place among few and many, and whether it comes when it was said."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.fleet.fake_worker import FakeWorker
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobNotFound, JobStatus
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.leases import Leases

QUEUE = "imagefleet.default"


@pytest.fixture
def leases(raw: "redis.Redis") -> Iterator[Leases]:
    """Takes messages as a worker does."""
    leases = Leases(raw, keys=Keys(), duration_s=30)
    yield leases
    leases.close()


def place(client: Client, job_id: str) -> int | None:
    """Where the job is in line."""
    return client.outlook(job_id).position


def commands_run(raw: "redis.Redis") -> dict[str, int]:
    """How often each command ran, those in scripts included."""
    return {name: stats["calls"] for name, stats in raw.info("commandstats").items()}


def test_the_place_of_each_of_ten_thousand_costs_what_that_of_ten_does(client: Client, raw: "redis.Redis") -> None:
    few = client.submit_many([{"prompt": "a", "model": "few"}] * 10)
    many = client.submit_many([{"prompt": "a"}] * 10_000)
    assert [place(client, job_id) for job_id in few] == list(range(1, 11))

    ran: list[dict[str, int]] = []
    for job_id, position in ((few[9], 10), (many[9_999], 10_000), (many[0], 1)):
        raw.config_resetstat()
        assert place(client, job_id) == position
        ran.append(commands_run(raw))
    assert ran[0] == ran[1] == ran[2]


def test_the_place_moves_with_what_is_taken_and_with_what_is_more_urgent(client: Client, leases: Leases) -> None:
    ids = client.submit_many(["a"] * 20)
    client.submit_many(["b"] * 20)
    assert place(client, ids[9]) == 10
    for _ in range(4):
        assert leases.claim([QUEUE])
    assert place(client, ids[9]) == 6
    client.submit_many([{"prompt": "a", "priority": 9}] * 3)
    client.submit_many([{"prompt": "a", "priority": 0}] * 7)
    assert place(client, ids[9]) == 9
    assert [place(client, client.submit("a", priority=priority)) for priority in (9, 0)] == [4, 16 + 20 + 4 + 8]


def test_the_same_job_twice_in_one_batch_leaves_no_gap(client: Client) -> None:
    first = client.submit("a")
    client.submit_many(["b"] * 3, ["twin", "twin", "last"])
    assert [place(client, job_id) for job_id in (first, "twin", "last")] == [1, 2, 3]


def test_with_tenants_the_place_is_what_it_is_at_the_latest(client: Client, leases: Leases) -> None:
    big = client.submit_many([{"prompt": "a", "tenant": "big"}] * 2000)
    small = client.submit_many([{"prompt": "a", "tenant": "small"}] * 5)
    own = client.submit_many(["a"] * 5)
    at_the_latest = {job_id: place(client, job_id) for job_id in (big[0], big[3], big[-1], small[2], own[4])}
    assert at_the_latest == {big[0]: 3, big[3]: 12, big[-1]: 2010, small[2]: 15, own[4]: 15}

    with_client = {leases.claim([QUEUE]).message: turn for turn in range(1, 2011)}
    for job_id, latest in at_the_latest.items():
        [turn] = [turn for message, turn in with_client.items() if f'"id": "{job_id}"' in message]
        assert turn <= latest


async def test_where_nothing_is_known_nothing_is_told(client: Client, raw: "redis.Redis", redis_url: str) -> None:
    job_id = client.submit("a")
    seen = client.outlook(job_id)
    assert (seen.position, seen.images_per_s, seen.eta_s) == (1, None, None)
    raw.hdel(Keys().job(job_id), "place")  # as an older client leaves it
    assert place(client, job_id) is None
    with pytest.raises(JobNotFound):
        client.outlook("nobody")
    async with AsyncClient(redis_url) as twin:
        assert await twin.outlook(job_id) == client.outlook(job_id)


def test_a_job_that_waits_for_another_attempt_has_no_place(client: Client, raw: "redis.Redis", redis_url: str) -> None:
    job_id = client.submit("a")
    FakeWorker(redis_url).start(job_id)
    raw.hset(Keys().job(job_id), "status", "queued")
    assert client.outlook(job_id).status is JobStatus.QUEUED
    assert place(client, job_id) is None


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker that makes one job after the other, mostly a pause: what else the machine does matters little."""
    env = {
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))),
        "FAULTS_FORWARD_S": "0.1",
        "IMAGEFLEET_ENGINE_MODE": "off",
        "IMAGEFLEET_MODEL_DEFAULT_STEPS": "6",
    }
    with running_fleet(tmp_path_factory.mktemp("outlook"), env=env) as fleet:
        wait_until_ready(fleet.start("one", options=("-I", "tests.support.devices.slow_device")))
        yield fleet


def test_a_job_ends_about_when_it_was_said(fleet: Fleet) -> None:
    with fleet.client() as client:
        list(client.map(["to be measured by"] * 4, timeout_s=60))  # a worker's first job is slower than the next

        def measured() -> Any:
            """The worker has told how fast it is."""
            return any(worker.jobs_per_s and worker.images >= 4 and not worker.jobs for worker in client.workers())

        wait_until(measured, 10)
        ids = client.submit_many([f"a fox, number {number}" for number in range(8)])
        asked = time.monotonic()
        seen = client.outlook(ids[-1])
        assert seen.eta_s
        assert seen.images_per_s

        client.result(ids[-1], timeout_s=120).raise_for_status()
        took = time.monotonic() - asked
        assert 0.5 < seen.eta_s / took < 2, (seen, took)


def test_a_running_job_says_how_long_its_steps_will_take(fleet: Fleet) -> None:
    with fleet.client() as client:
        job_id = client.submit("a fox", steps=40)
        said: list[tuple[float, float]] = []
        for event in client.events(job_id, 60):
            if event.left_s is not None and event.progress and 10 <= event.progress.done < 20:
                said.append((time.monotonic(), event.left_s))
                assert client.outlook(job_id).eta_s == pytest.approx(event.left_s, rel=0.5)
        at, left_s = said[0]
        assert 0.5 < left_s / (time.monotonic() - at) < 2
        assert client.outlook(job_id).eta_s is None
