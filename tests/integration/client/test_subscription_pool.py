"""Sockets that are used again: what a client has opened serves its next wait, and is replaced where it has died."""

import asyncio
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from tests.support.fleet.fake_worker import FakeWorker
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobStatus
from imagefleet.client.async_connection import AsyncConnection
from imagefleet.client.connection import Connection
from imagefleet.client.settings import ClientSettings
from imagefleet.client.subscription_pool import Subscriber, SubscriptionPool
from imagefleet.client.watch import Subscribe, Watching
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import RedisSettings

#: Given a URL and what to do between two waits: the statuses of both jobs.
TwoWaits = Callable[[str, Callable[[], object]], list[JobStatus]]


def blocking(url: str, between: Callable[[], object]) -> list[JobStatus]:
    with Client(url) as client:
        first = client.result(client.submit("a dog"), 10)
        between()
        return [first.status, client.result(client.submit("a cat"), 10).status]


def with_asyncio(url: str, between: Callable[[], object]) -> list[JobStatus]:
    async def main() -> list[JobStatus]:
        async with AsyncClient(url) as client:
            first = await client.result(await client.submit("a dog"), 10)
            between()
            return [first.status, (await client.result(await client.submit("a cat"), 10)).status]

    return asyncio.run(main())


both_clients = pytest.mark.parametrize("two_waits", [blocking, with_asyncio])


@contextmanager
def proxied(url: str) -> Generator[tuple[str, TcpProxy]]:
    proxy = TcpProxy(urlsplit(url).port or 6379)
    try:
        yield f"redis://127.0.0.1:{proxy.port}/0", proxy
    finally:
        proxy.close()


@both_clients
def test_the_next_wait_connects_no_more_and_hears_nothing_of_the_last(redis_url: str, two_waits: TwoWaits) -> None:
    with FakeWorker(redis_url), proxied(redis_url) as (url, proxy), redis.Redis.from_url(redis_url) as raw:
        seen: list[int] = []

        def count() -> None:
            seen.append(proxy.connections)
            wait_until(lambda: raw.pubsub_channels("*events*") == [], 5)  # the client does not wait for the reply

        def count_twice() -> None:
            count()
            count()

        two_waits(url, count_twice)
        assert seen == [2, 2], "one socket for commands, one that listens"
        with Client(url) as client:
            before = int(raw.info("stats")["total_connections_received"])
            for _ in range(5):
                client.result(client.submit("a dog"), 10)
            assert int(raw.info("stats")["total_connections_received"]) == before + 2


@both_clients
def test_a_socket_that_died_between_two_waits_is_replaced(redis_url: str, two_waits: TwoWaits) -> None:
    with FakeWorker(redis_url), proxied(redis_url) as (url, proxy):
        assert two_waits(url, proxy.cut) == [JobStatus.SUCCEEDED] * 2


@both_clients
def test_a_socket_that_hangs_is_replaced(redis_url: str, two_waits: TwoWaits) -> None:
    with FakeWorker(redis_url), proxied(redis_url) as (url, proxy):
        start = time.monotonic()
        assert two_waits(url, proxy.black_hole) == [JobStatus.SUCCEEDED] * 2
        assert time.monotonic() - start < 5


class Pubsub:
    """What redis-py would read after a wait for three jobs that ended early, one confirmation into it."""

    def __init__(self) -> None:
        self.unread = ["subscribe", "subscribe", *["unsubscribe"] * 3]

    def subscribe(self, *channels: str) -> None:
        self.unread += ["message", *["subscribe"] * len(channels)]

    def unsubscribe(self) -> None:
        """Answered later."""

    def get_message(self, **_: float) -> dict[str, Any]:
        return {"type": self.unread.pop(0), "data": "of an old job"}

    def close(self) -> None:
        raise AssertionError("it was sound")


class AsyncPubsub(Pubsub):
    async def subscribe(self, *channels: str) -> None:  # type: ignore[override]
        super().subscribe(*channels)

    async def unsubscribe(self) -> None:  # type: ignore[override]
        """Answered later."""

    async def get_message(self, **_: float) -> dict[str, Any]:  # type: ignore[override]
        return super().get_message()

    async def aclose(self) -> None:
        self.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_wait_is_confirmed_by_its_own_answer_not_by_the_last_waits(is_async: bool) -> None:  # noqa: FBT001  # pytest's
    pubsub = AsyncPubsub() if is_async else Pubsub()
    subscriber: Subscriber[Any] = Subscriber(pubsub)
    subscriber.unconfirmed = 2
    left: list[list[str]] = []

    def watching() -> Watching:
        yield Subscribe(["new one", "new two"])
        left.append(list(pubsub.unread))

    async def watch_with_asyncio() -> None:
        connection = AsyncConnection(ClientSettings())
        connection.pool.release(subscriber)
        assert [event async for event in connection.watch(watching())] == []

    if is_async:
        asyncio.run(watch_with_asyncio())
    else:
        connection = Connection(ClientSettings())
        connection.pool.release(subscriber)
        assert list(connection.watch(watching())) == []
    assert left == [["subscribe"]], "the answer to the first of the new ones was the last that was read"


def test_a_forked_process_leaves_its_parents_sockets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SubscriptionPool(lambda: "a new one")
    pool.release(Subscriber("the parent's"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert pool.acquire_idle() is None


def test_a_script_is_sent_once_and_again_where_redis_forgot_it(redis_url: str) -> None:
    with Client(redis_url) as client, redis.Redis.from_url(redis_url) as raw:
        raw.script_flush()
        raw.config_resetstat()
        for _ in range(3):
            client.submit("a dog")
        calls = {name: stats["calls"] for name, stats in raw.info("commandstats").items()}
        assert (calls["cmdstat_eval"], calls["cmdstat_evalsha"]) == (1, 3)
        raw.script_flush()
        client.submit_many(["a cat"] * 700)
        assert client.queue_length() == 703


@both_clients
def test_a_redis_that_forgot_the_scripts_is_told_again(redis_url: str, two_waits: TwoWaits) -> None:
    with FakeWorker(redis_url), redis.Redis.from_url(redis_url) as raw:
        assert two_waits(redis_url, raw.script_flush) == [JobStatus.SUCCEEDED] * 2


def test_a_worker_sends_a_script_whole_where_redis_forgot_it(redis_url: str) -> None:
    with connect(RedisSettings(url=redis_url)) as client, redis.Redis.from_url(redis_url) as raw:
        for _ in range(2):
            raw.script_flush()
            assert [client.execute_command("EVAL", "return ARGV[1]", 0, each) for each in "ab"] == ["a", "b"]
