"""Connections that stay checked out of redis-py's pool give each command its own reply, whatever happens to them."""

import asyncio
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Barrier
from typing import Any

import pytest
import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.waiting import wait_until

from imagefleet.store.checked_out import AsyncCheckedOutRedis, CheckedOutRedis

Execute = Callable[..., Any]


@contextmanager
def blocking(url: str) -> Generator[Execute]:
    """Executes commands, and repeats none."""
    retry = Retry(NoBackoff(), 0)
    with CheckedOutRedis.from_url(url, decode_responses=True, retry=retry) as client:
        yield client.execute_command


@contextmanager
def with_asyncio(url: str) -> Generator[Execute]:
    """The same, in one event loop."""
    retry = AsyncRetry(NoBackoff(), 0)
    with asyncio.Runner() as runner:
        client = AsyncCheckedOutRedis.from_url(url, decode_responses=True, retry=retry)
        yield lambda *command: runner.run(client.execute_command(*command))
        runner.run(client.aclose())


Opened = Callable[[str], AbstractContextManager[Execute]]

both = pytest.mark.parametrize("opened", [blocking, with_asyncio])


@pytest.fixture
def raw(redis_url: str) -> Generator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@both
def test_commands_share_a_connection_and_a_refusal_leaves_it_open(redis_url: str, opened: Opened) -> None:
    with opened(redis_url) as execute:
        own = execute("CLIENT", "ID")
        execute("SET", "a", "1")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            execute("LPOP", "a")
        assert (execute("GET", "a"), execute("CLIENT", "ID")) == ("1", own)


@both
def test_nobody_notices_that_an_idle_connection_has_died(redis_url: str, raw: "redis.Redis", opened: Opened) -> None:
    """As the pool does it: a restart of Redis must not use up the one repetition of a client's round trip."""
    with opened(redis_url) as execute:
        own = execute("CLIENT", "ID")
        raw.execute_command("CLIENT", "KILL", "ID", own)
        assert execute("ECHO", "three") == "three"
        assert execute("CLIENT", "ID") != own


@both
def test_a_new_connection_that_breaks_is_an_error(redis_url: str, raw: "redis.Redis", opened: Opened) -> None:
    with opened(redis_url) as execute:
        raw.config_set("maxclients", len(raw.client_list()))
        with pytest.raises(redis.ConnectionError, match="max number of clients"):
            execute("PING")
        raw.config_set("maxclients", 10000)
        assert execute("ECHO", "three") == "three"


def test_a_closed_client_has_no_connection(redis_url: str, raw: "redis.Redis") -> None:
    client = CheckedOutRedis.from_url(redis_url)
    client.execute_command("CLIENT", "SETNAME", "one")
    client.close()
    wait_until(lambda: "one" not in [each["name"] for each in raw.client_list()])


def test_all_idle_connections_may_die_and_no_thread_notices(redis_url: str, raw: "redis.Redis") -> None:
    """As after a restart of Redis."""
    threads = 4
    together = Barrier(threads)
    own = raw.client_id()
    with blocking(redis_url) as execute, ThreadPoolExecutor(threads) as pool:

        def ask(number: int) -> str:
            together.wait(5)
            return str(execute("EVAL", "return ARGV[1]", 0, number))

        for _ in range(3):
            assert list(pool.map(ask, range(threads))) == [str(number) for number in range(threads)]
            for each in raw.client_list():
                if int(each["id"]) != own:
                    raw.execute_command("CLIENT", "KILL", "ID", each["id"])


def test_a_canceled_command_leaves_no_reply_for_the_next_one(redis_url: str, raw: "redis.Redis") -> None:
    async def scenario() -> list[str]:
        client = AsyncCheckedOutRedis.from_url(redis_url, decode_responses=True)
        await client.execute_command("PING")
        waits = asyncio.create_task(client.execute_command("BLPOP", "nothing", 30))
        await asyncio.to_thread(wait_until, lambda: raw.info("clients")["blocked_clients"] == 1)
        raw.lpush("nothing", "a reply for nobody")
        waits.cancel()
        with suppress(asyncio.CancelledError):  # redis-py may have swallowed it
            await waits
        replies = [await client.execute_command("ECHO", word) for word in ("two", "three")]
        await client.aclose()
        return replies

    assert asyncio.run(scenario()) == ["two", "three"]


class Interrupted(BaseException):
    """What the handler of a signal raises."""


class InterruptedConnection(redis.Connection):
    """A signal comes when a BLPOP has been sent, and before its reply is awaited."""

    def send_packed_command(self, command: Any, *more: Any, **options: Any) -> None:
        super().send_packed_command(command, *more, **options)
        if b"BLPOP" in b"".join(command):
            raise Interrupted


def test_a_signal_in_the_middle_of_a_command_leaves_no_reply_for_the_next_one(redis_url: str) -> None:
    """Ctrl-C in a notebook: the same client goes on."""
    with CheckedOutRedis.from_url(redis_url, decode_responses=True, connection_class=InterruptedConnection) as client:
        for _ in range(2):
            with pytest.raises(Interrupted):
                client.execute_command("BLPOP", "nothing", 0.2)
            assert client.execute_command("ECHO", "own") == "own"


def test_a_forked_process_uses_sockets_of_its_own(redis_url: str) -> None:
    reading, writing = os.pipe()
    with blocking(redis_url) as execute:
        parent = execute("CLIENT", "ID")
        if (child := os.fork()) == 0:
            os.write(writing, str(execute("CLIENT", "ID")).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert int(os.read(reading, 20)) != parent
        assert execute("CLIENT", "ID") == parent
    os.close(reading)
    os.close(writing)
