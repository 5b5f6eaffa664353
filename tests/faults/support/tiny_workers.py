"""Worker processes of the tiny app, and what their journal says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from tests.support.fleet.processes import start_worker, wait_until_ready
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet.contract import messages
from imagefleet.store.keys import Keys
from imagefleet_worker.supervision.child_process import ChildProcess

QUEUE = "tiny"
LEASE_S = 2
#: Without a second of looking for other workers.
_QUICKLY = ("--without-mingle", "--without-gossip")


class TinyWorkers:
    """Workers with leases of two seconds on one Redis server."""

    def __init__(self, folder: Path, server: RedisServer, *, port: int | None = None, keys: Keys | None = None) -> None:
        """Workers reach *server* through *port*, where that is given."""
        self.server = server
        self.keys = keys or Keys()
        self.raw = redis.Redis.from_url(server.url, decode_responses=True)
        self._folder = folder
        self._journal = folder / "journal"
        self._journal.touch()
        self._url = f"redis://127.0.0.1:{port or server.port}/0"
        self._workers: list[ChildProcess] = []

    def start(self, name: str = "tiny", *, concurrency: int = 4, options: tuple[str, ...] = _QUICKLY) -> ChildProcess:
        """Start a worker and wait until it takes messages."""
        env = {
            "IMAGEFLEET_REDIS_URL": self._url,
            "IMAGEFLEET_REDIS_KEY_PREFIX": self.keys.prefix,
            "IMAGEFLEET_REDIS_SOCKET_TIMEOUT_S": "2",
            "IMAGEFLEET_LEASE_DURATION_S": str(LEASE_S),
            "TINY_JOURNAL": str(self._journal),
        }
        flags = ("-c", str(concurrency), "--loglevel", "INFO", *options)
        child = start_worker(env, self._folder, name=name, options=flags, app="tests.faults.support.tiny_app")
        self._workers.append(child)
        wait_until_ready(child, 30)
        return child

    def push(self, name: str, *, seconds: float = 0.0, priority: int = 5) -> None:
        """Queue `tiny.work`."""
        self.send(name, "tiny.work", {"seconds": seconds}, priority=priority)

    def send(self, name: str, task: str, kwargs: dict[str, Any], *, priority: int = 5) -> None:
        """Queue a task."""
        text = messages.encode(task, kwargs, message_id=name, queue=QUEUE)
        self.raw.lpush(self.keys.list_for(QUEUE, priority), text)

    def journal(self, event: str, name: str | None = None) -> list[dict[str, Any]]:
        """What happened, as the tasks wrote it."""
        lines = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return [line for line in lines if line["event"] == event and name in (None, line["name"])]

    def wait_for(self, event: str, name: str, *, count: int = 1, timeout_s: float = 15) -> dict[str, Any]:
        """Wait until something happened *count* times, and give the last one.

        Raises:
            AssertionError: with the ends of the logs, where it does not happen in time.
        """
        try:
            return wait_until(lambda: len(found := self.journal(event, name)) >= count and found, timeout_s)[-1]  # type: ignore[index]
        except AssertionError as error:
            logs = "\n".join(f"-- {child.name}\n{child.log_tail(30)}" for child in self._workers)
            raise AssertionError(f"no {event} of {name}: {error}\n{self._journal.read_text()}\n{logs}") from error

    def is_idle(self) -> bool:
        """Nothing is held, waits or is due later."""
        lists = self.keys.lists(QUEUE)
        return not (self.raw.zcard(self.keys.leases) or self.raw.exists(*lists) or self.raw.zcard(self.keys.delayed))

    def close(self) -> None:
        """End every worker."""
        for child in self._workers:
            child.kill()
        self.raw.close()


@contextmanager
def running_tiny_workers(folder: Path, *, append_only: bool = False, keys: Keys | None = None) -> Iterator[TinyWorkers]:
    """No workers yet, on a server of its own that is older than a lease."""
    with RedisServer(folder / "redis", append_only=append_only) as server:
        tiny = TinyWorkers(folder, server, keys=keys)
        try:
            yield tiny
        finally:
            tiny.close()
