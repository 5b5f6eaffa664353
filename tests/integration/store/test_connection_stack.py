"""Commands that go around redis-py's pool get their own replies, whatever happens to the connections."""

import asyncio
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Barrier
from typing import Any

import pytest
import redis
import redis.asyncio

from imagefleet.store.connection_stack import AsyncConnectionStack, ConnectionStack
from imagefleet.store.scripts import Command
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import RedisSettings

Run = Callable[[list[Command]], list[Any]]


@contextmanager
def blocking(url: str) -> Generator[Run]:
    """Runs commands on one stack."""
    pool = redis.ConnectionPool.from_url(url, decode_responses=True)
    yield ConnectionStack(pool).run
    pool.disconnect()


@contextmanager
def with_asyncio(url: str) -> Generator[Run]:
    """The same, in one event loop."""
    with asyncio.Runner() as runner:
        pool = redis.asyncio.ConnectionPool.from_url(url, decode_responses=True)
        stack = AsyncConnectionStack(pool)
        yield lambda commands: runner.run(stack.run(commands))
        runner.run(pool.disconnect())


Opened = Callable[[str], AbstractContextManager[Run]]

both = pytest.mark.parametrize("opened", [blocking, with_asyncio])


@both
def test_a_refused_command_leaves_the_next_replies_in_their_places(redis_url: str, opened: Opened) -> None:
    with opened(redis_url) as run:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            run([("SET", "a", "1"), ("LPOP", "a"), ("SET", "a", "2"), ("LPOP", "a")])
        assert run([("GET", "a"), ("ECHO", "three")]) == ["2", "three"]


@both
def test_after_a_broken_connection_the_next_command_connects_anew(redis_url: str, opened: Opened) -> None:
    with opened(redis_url) as run, redis.Redis.from_url(redis_url) as raw:
        [own] = run([("CLIENT", "ID")])
        raw.execute_command("CLIENT", "KILL", "ID", own)
        with pytest.raises(redis.ConnectionError):
            run([("PING",)])
        [other] = run([("CLIENT", "ID")])
        assert other != own


def test_all_idle_connections_of_a_worker_may_die_and_no_thread_notices(redis_url: str) -> None:
    """As after a restart of Redis."""
    client, threads = connect(RedisSettings(url=redis_url)), 4
    together = Barrier(threads)

    def ask(number: int) -> list[Any]:
        together.wait(5)
        return client.execute_command("EVAL", "return {ARGV[1]}", 0, number)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(threads) as pool, redis.Redis.from_url(redis_url) as raw:
        own = raw.client_id()
        for _ in range(3):
            assert list(pool.map(ask, range(threads))) == [[str(number)] for number in range(threads)]
            for each in raw.client_list():
                if int(each["id"]) != own:
                    raw.execute_command("CLIENT", "KILL", "ID", each["id"])
    client.connection_pool.disconnect()


def test_a_forked_process_uses_sockets_of_its_own(redis_url: str) -> None:
    reading, writing = os.pipe()
    with blocking(redis_url) as run:
        [parent] = run([("CLIENT", "ID")])
        if (child := os.fork()) == 0:
            os.write(writing, str(run([("CLIENT", "ID")])[0]).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert int(os.read(reading, 20)) != parent
        assert run([("CLIENT", "ID")]) == [parent]
    os.close(reading)
    os.close(writing)
