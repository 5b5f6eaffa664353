"""Groups: jobs that are canceled together, queued and running, by the client, its asyncio twin and the command."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from tests.support.fleet.fake_worker import FakeWorker
from typer.testing import CliRunner

from imagefleet import AsyncClient, Client, GroupCanceled, InvalidJob, JobStatus
from imagefleet.cli.app import app
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store.keys import Keys

KEYS = Keys()


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


def test_all_queued_jobs_of_a_group_end_at_once_and_no_others(client: Client, redis_url: str) -> None:
    """Each with its event, its webhook and its labels."""
    hook = {"url": "https://example.com"}
    ids = client.submit_many(
        [{"prompt": "a", "metadata": {"number": number}, "webhook": hook} for number in range(3)], group="calendar"
    )
    other = client.submit("b")

    assert client.cancel_group("calendar") == GroupCanceled(canceled=3, stopping=0)

    results = [client.result(job_id, timeout_s=5) for job_id in ids]
    assert {JobStatus.CANCELED} == {result.status for result in results}
    assert [result.metadata for result in results] == [{"number": number} for number in range(3)]
    assert client.status(other) is JobStatus.QUEUED
    with redis.Redis.from_url(redis_url) as raw:
        assert raw.llen(WEBHOOK_QUEUE) == 3
        assert not raw.exists(KEYS.group("calendar"))


def test_a_job_keeps_the_group_of_its_own(client: Client) -> None:
    own, given = client.submit_many([{"prompt": "a", "group": "mine"}, "b"], group="shared")

    client.cancel_group("shared")

    assert (client.status(own), client.status(given)) == (JobStatus.QUEUED, JobStatus.CANCELED)


def test_running_jobs_of_a_group_are_asked_to_stop_and_ended_ones_are_not_counted(
    client: Client, redis_url: str
) -> None:
    queued, running, ended = client.submit_many(["a"] * 3, group="mixed")
    worker = FakeWorker(redis_url)
    for job_id in (running, ended):
        worker.start(job_id)
    worker.finish(ended)
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw, raw.pubsub() as control:
        control.subscribe(KEYS.control)
        control.get_message(timeout=5)

        assert client.cancel_group("mixed") == GroupCanceled(canceled=1, stopping=1)

        heard = control.get_message(timeout=5)
    assert heard
    assert heard["data"] == running
    assert client.get(running).cancel_requested
    assert client.status(queued) is JobStatus.CANCELED
    assert client.status(ended) is JobStatus.SUCCEEDED


def test_a_group_that_nobody_used_has_nothing_to_cancel(client: Client) -> None:
    assert client.cancel_group("nobody") == GroupCanceled(canceled=0, stopping=0)
    with pytest.raises(InvalidJob, match="group: must be"):
        client.cancel_group("no such/name")


def test_a_group_forgets_itself_and_who_has_ended(client: Client, redis_url: str) -> None:
    """A name that is used every day does not grow."""
    worker = FakeWorker(redis_url)
    first, second = client.submit_many(["a", "b"], group="daily")
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        worker.start(first)
        worker.finish(first)
        assert raw.smembers(KEYS.group("daily")) == {second}
        assert 0 < raw.ttl(KEYS.group("daily")) <= 30 * 86_400


def test_redis_serves_others_while_ten_thousand_jobs_are_canceled(client: Client, redis_url: str) -> None:
    """No command of a group's cancel keeps Redis for long: the longest wait of others meanwhile is short."""
    client.submit_many(["a"] * 10_000, group="huge")
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with redis.Redis.from_url(redis_url) as raw:
            while not done.is_set():
                began = time.monotonic()
                raw.ping()
                waits.append(time.monotonic() - began)

    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        raw.config_set("slowlog-log-slower-than", 100_000)  # microseconds; a script is one command
        raw.slowlog_reset()
        asker = threading.Thread(target=ask)
        asker.start()
        try:
            found = client.cancel_group("huge")
        finally:
            done.set()
            asker.join()
        slow = [entry["command"][:60] for entry in raw.slowlog_get()]

    assert found == GroupCanceled(canceled=10_000, stopping=0)
    assert not slow
    assert max(waits) < 1  # the machine may be busy; Redis is not


def test_the_asyncio_twin_cancels_groups(redis_url: str) -> None:
    async def run() -> GroupCanceled:
        async with AsyncClient(redis_url) as client:
            await client.submit_many(["a", "b"], group="pair")
            return await client.cancel_group("pair")

    assert asyncio.run(run()) == GroupCanceled(canceled=2, stopping=0)


def test_the_command_cancels_groups(redis_url: str) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--redis-url", redis_url, *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("submit", "a", "b", "--group", "cards")
    assert run("cancel", "--group", "cards") == "cards: 2 canceled, 0 asked to stop\n"
    assert json.loads(run("cancel", "--group", "cards", "--json")) == {"group": "cards", "canceled": 0, "stopping": 0}
