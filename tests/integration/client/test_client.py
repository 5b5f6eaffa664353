"""The client and its asyncio twin against a real server."""

import asyncio
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from tests.support.fleet.fake_worker import FakeWorker
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import (
    AsyncClient,
    Client,
    IdTaken,
    InvalidJob,
    JobNotFound,
    JobStatus,
    QueueFull,
    QueueUnavailable,
    ResultTimeout,
    SettingsInvalid,
)
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store.keys import Keys
from imagefleet.webhooks import Delivery, Event
from imagefleet_worker.local.redis_server import valkey_binary


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def unreachable_url() -> Iterator[str]:
    """A server whose backlog is full: packets to it get no answer, as behind a firewall that drops them."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(6):
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex(server.getsockname())
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def refusing_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


def messages_in(redis_url: str, *lists: str) -> list[str]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        return [message for key in lists for message in reversed(raw.lrange(key, 0, -1))]


def test_ids_come_in_the_order_submitted_and_messages_lie_in_it(client: Client, redis_url: str) -> None:
    ids = client.submit_many([f"prompt {number}" for number in range(1200)])
    lying = [json.loads(message)["headers"]["id"] for message in messages_in(redis_url, "imagefleet.default")]
    assert lying == ids
    assert client.queue_length() == 1200


def test_the_same_id_twice_is_one_job(client: Client) -> None:
    assert [client.submit("a dog", job_id="mine") for _ in range(2)] == ["mine", "mine"]
    assert client.submit_many(["a dog", "b"], ["mine", "other"]) == ["mine", "other"]
    assert client.queue_length() == 2


def test_another_job_under_a_taken_id_is_refused_and_queues_nothing_of_its_batch(client: Client) -> None:
    client.submit("a dog", job_id="mine", priority=3)

    with pytest.raises(IdTaken, match="mine"):
        client.submit_many(["a cat", "a cow"], ["mine", "other"])
    with pytest.raises(IdTaken, match="other"):
        client.submit_many(["a cat", "a cow"], ["other", "other"])

    assert client.submit("a dog", job_id="mine", priority=9) == "mine"
    assert client.queue_length() == 1


def test_of_many_batches_those_without_a_taken_id_are_queued(client: Client) -> None:
    client.submit("a dog", job_id="j700")

    with pytest.raises(IdTaken) as caught:
        client.submit_many(["x"] * 1000, [f"j{number}" for number in range(1000)])

    assert len(caught.value.accepted) == 500
    assert client.queue_length() == 501


def test_a_full_queue_takes_no_more_and_tells_what_it_took(redis_url: str) -> None:
    with Client(redis_url, max_queued=700) as client:
        with pytest.raises(QueueFull) as caught:
            client.submit_many(["x"] * 1000)
        assert len(caught.value.accepted) == 500
        assert client.queue_length() == 500


def test_the_prefix_is_before_every_key(redis_url: str) -> None:
    with Client(redis_url, key_prefix="mine:") as client:
        client.cancel(client.submit("x", webhook={"url": "https://example.com"}))
        client.submit("y")
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        keys = list(raw.scan_iter())
    assert keys
    assert all(key.startswith("mine:") for key in keys)


def test_a_job_is_watched_from_queue_to_end(client: Client, redis_url: str) -> None:
    job_id = client.submit("a dog", steps=5, metadata={"n": 1})
    assert client.status(job_id) is JobStatus.QUEUED
    with FakeWorker(redis_url):
        events = list(client.events(job_id, 10))
    done = [event.progress.done for event in events if event.progress]
    assert done == sorted(done)
    assert events[-1].result is not None
    snapshot = client.get(job_id)
    assert snapshot.status is JobStatus.SUCCEEDED
    assert snapshot.attempts == 1
    assert snapshot.result is not None
    assert snapshot.result.metadata == {"n": 1}
    assert snapshot.queued_at
    assert snapshot.started_at
    assert snapshot.ended_at
    assert snapshot.queued_at <= snapshot.started_at <= snapshot.ended_at


def test_results_come_as_jobs_end_each_once(client: Client, redis_url: str) -> None:
    ids = client.submit_many([f"p{number}" for number in range(60)])
    with FakeWorker(redis_url), FakeWorker(redis_url):
        results = list(client.as_completed([*ids, ids[0]], 20))
    assert sorted(result.id for result in results) == sorted(ids)


def test_map_keeps_the_order_of_the_prompts(client: Client, redis_url: str) -> None:
    with FakeWorker(redis_url), FakeWorker(redis_url):
        results = list(client.map(["a", "fail b", "c"], seed=5, timeout_s=10))
    assert [result.status for result in results] == ["succeeded", "failed", "succeeded"]


def test_map_queues_all_jobs_before_the_first_result_is_asked_for(client: Client) -> None:
    results = client.map(["a", "b"])
    assert client.queue_length() == 2
    del results


async def test_map_of_the_asyncio_client_queues_them_then_too(redis_url: str) -> None:
    async with AsyncClient(redis_url) as client:
        results = await client.map(["a", "b"])
        assert await client.queue_length() == 2
        with pytest.raises(InvalidJob):  # at the call, and not at the first result
            await client.map(["a", ""])
        with FakeWorker(redis_url):
            assert [result.status async for result in results] == ["succeeded"] * 2


def test_map_raises_at_the_call_for_a_bad_job(client: Client) -> None:
    with pytest.raises(InvalidJob):
        client.map(["a", ""])
    assert client.queue_length() == 0


def test_a_queued_job_is_canceled_at_once_and_its_webhook_leaves(client: Client, redis_url: str) -> None:
    job_id = client.submit("a dog", webhook={"url": "https://example.com/hook"}, metadata={"user": "u"})
    assert client.cancel(job_id) is JobStatus.CANCELED
    result = client.result(job_id, 1)
    assert result.error is not None
    assert (result.error.code, result.attempts, result.metadata) == ("canceled", 0, {"user": "u"})
    [message] = messages_in(redis_url, *Keys().lists(WEBHOOK_QUEUE))
    delivery = Delivery.model_validate(json.loads(json.loads(message)["body"])[1]["delivery"])
    assert delivery.url == "https://example.com/hook"
    assert Event.model_validate_json(delivery.body).data == result


def test_a_webhook_that_did_not_ask_for_cancellations_gets_none(client: Client, redis_url: str) -> None:
    client.cancel(client.submit("x", webhook={"url": "https://example.com", "events": ["job.succeeded"]}))
    assert not messages_in(redis_url, *Keys().lists(WEBHOOK_QUEUE))


def test_of_a_running_job_the_worker_is_asked_to_stop(client: Client, redis_url: str) -> None:
    job_id = client.submit("a dog")
    FakeWorker(redis_url).start(job_id)
    assert client.cancel(job_id) is JobStatus.RUNNING
    assert client.get(job_id).cancel_requested


def test_an_ended_job_stays_as_it_is(client: Client, redis_url: str) -> None:
    job_id = client.submit("a dog")
    worker = FakeWorker(redis_url)
    worker.start(job_id)
    worker.finish(job_id)
    assert client.cancel(job_id) is JobStatus.SUCCEEDED


def test_an_unknown_job_is_said_to_be_one(client: Client) -> None:
    for ask in (client.get, client.status, client.result, client.cancel):
        with pytest.raises(JobNotFound, match="nobody"):
            ask("nobody")


def test_a_wait_ends_with_the_callers_patience(client: Client) -> None:
    job_id = client.submit("a dog")
    began = time.monotonic()
    with pytest.raises(ResultTimeout):
        client.result(job_id, 0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert client.status(job_id) is JobStatus.QUEUED


@pytest.mark.parametrize("kind", ["refusing_url", "silent_url", "unreachable_url"])
def test_an_unavailable_queue_is_told_within_five_seconds(kind: str, request: pytest.FixtureRequest) -> None:
    began = time.monotonic()
    with Client(request.getfixturevalue(kind)) as client, pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1"):
        client.submit("a dog")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["refusing_url", "silent_url", "unreachable_url"])
async def test_the_twin_tells_it_within_five_seconds_too(kind: str, request: pytest.FixtureRequest) -> None:
    began = time.monotonic()
    async with AsyncClient(request.getfixturevalue(kind)) as client:
        with pytest.raises(QueueUnavailable):
            await client.submit("a dog")
    assert time.monotonic() - began < 5


def test_a_password_is_never_in_the_error(refusing_url: str) -> None:
    url = refusing_url.replace("redis://", "redis://user:secret@")
    with Client(url) as client, pytest.raises(QueueUnavailable) as caught:
        client.submit("x")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "sentinel://127.0.0.1:26379/0", "redis://127.0.0.1/0?nope=1", "redis://127.0.0.1/x"]
)
def test_a_url_that_cannot_be_used_is_told_before_anything_is_sent(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        Client(url)


def test_a_client_waits_for_more_jobs_than_redis_py_has_connections(client: Client) -> None:
    """Its own limit is 100; and a moment with many calls must leave some for all that comes later."""
    jobs = client.submit_many(["a fox"] * 130)
    together = threading.Barrier(len(jobs))

    def wait(job_id: str) -> str:
        together.wait(30)
        with pytest.raises(ResultTimeout):
            client.result(job_id, timeout_s=1)
        return client.get(job_id).id

    with ThreadPoolExecutor(len(jobs)) as pool:
        assert list(pool.map(wait, jobs)) == jobs
    assert client.overview()


def test_threads_that_wait_go_on_when_their_client_is_closed(client: Client, redis_url: str) -> None:
    """It opens new sockets when it is used again, as after a broken connection."""
    jobs = client.submit_many(["a fox"] * 3)
    with ThreadPoolExecutor(3) as pool, redis.Redis.from_url(redis_url) as raw:
        waits = [pool.submit(client.result, job_id, timeout_s=30) for job_id in jobs]
        wait_until(lambda: len(raw.pubsub_channels("*events*")) == 3)
        client.close()
        for job_id, wait in zip(jobs, waits, strict=True):
            client.cancel(job_id)
            assert wait.result(20).status is JobStatus.CANCELED


def test_a_limit_of_connections_in_the_url_is_kept(redis_url: str) -> None:
    with Client(f"{redis_url}?max_connections=2") as client:
        jobs = client.submit_many([{"prompt": "a fox", "model": model} for model in ("one", "two")])
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(client.cancel, jobs)) == [JobStatus.CANCELED] * 2
        assert client.result(jobs[0]).status is JobStatus.CANCELED
        assert client.overview()


def test_a_client_reaches_redis_by_its_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    command = [os.environ.get("IMAGEFLEET_TEST_REDIS_SERVER") or valkey_binary(), "--port", "0", "--save", ""]
    with subprocess.Popen([*command, "--unixsocket", str(path)], stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(path.exists, 10)
            with Client(f"unix://{path}") as client:
                assert client.status(client.submit("a fox")) is JobStatus.QUEUED

            async def submit() -> JobStatus:
                async with AsyncClient(f"unix://{path}") as client:
                    return await client.status(await client.submit("a cat"))

            assert asyncio.run(submit()) is JobStatus.QUEUED
        finally:
            server.terminate()


def test_a_wait_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    """And hears what happens after it."""
    with RedisServer(tmp_path, append_only=True) as server, Client(server.url) as client:
        job_id = client.submit("a dog")
        first = threading.Event()
        results = []

        def wait() -> None:
            for event in client.events(job_id, 30):
                first.set()
                results.append(event.result)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert first.wait(10)
        server.stop()
        server.start()
        with FakeWorker(server.url):
            waiting.join(20)
        assert results[-1] is not None
        assert results[-1].status is JobStatus.SUCCEEDED


async def test_the_twin_does_what_the_client_does(redis_url: str) -> None:
    async with AsyncClient(redis_url) as client:
        ids = await client.submit_many(["a", "fail b"], ["one", "two"])
        assert await client.queue_length() == 2
        assert await client.submit("a", job_id="one") == "one"
        assert await client.cancel(await client.submit("never", priority=0)) is JobStatus.CANCELED
        with FakeWorker(redis_url):
            ended = {result.id: result.status async for result in client.as_completed(ids, 10)}
            in_order = [result.status async for result in await client.map(["x", "fail y"], timeout_s=10)]
        assert ended == {"one": "succeeded", "two": "failed"}
        assert in_order == ["succeeded", "failed"]
        assert (await client.get("one")).attempts == 1
        assert await client.status("two") is JobStatus.FAILED
        assert (await client.result("one")).status is JobStatus.SUCCEEDED
        with pytest.raises(JobNotFound):
            await client.result("nobody")


def test_threads_may_share_a_client(client: Client) -> None:
    threads = [threading.Thread(target=client.submit_many, args=(["x"] * 50,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: client.queue_length() == 400)
