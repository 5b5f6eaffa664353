"""Worker processes with made-up devices (`_simulated`) on one real Redis, and what that Redis did meanwhile."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import redis
from tests.benchmarks._board import Board, Counts
from tests.support.fleet.processes import start_worker, wait_until_ready
from tests.support.servers.redis import RedisServer

from imagefleet import Client
from imagefleet.contract.queues import queue_for
from imagefleet.store.keys import Keys
from imagefleet_worker.supervision.child_process import ChildProcess, wait_or_kill_all

#: A job as a service would send it.
PROMPT = "a lighthouse on a cliff at dusk, oil on canvas, long brush strokes, a storm far out at sea, " * 3
#: Without greetings and gossip between workers: each would hear of every other.
_OPTIONS = ("-I", "tests.benchmarks._simulated", "--without-mingle", "--without-gossip", "-c", "4")
_AT_ONCE = 4


class Used(NamedTuple):
    """What Redis has used since its start."""

    cpu_s: float
    commands: int
    memory_bytes: int


class Team:
    """So many workers on one Redis, with append-only files as in production."""

    def __init__(self, folder: Path, server: RedisServer, *, job_s: float) -> None:
        """No workers yet; a job takes *job_s* on the device."""
        self._folder, self._server, self._job_s = folder, server, job_s
        self._board = Board(folder / "board")
        self._workers: list[ChildProcess] = []
        self.raw = redis.Redis.from_url(server.url)
        self.client = Client(server.url)

    def grow(self, count: int) -> None:
        """Start workers until there are *count*, a few at a time, and wait until all take jobs."""
        while len(self._workers) < count:
            new = [self._start(index) for index in range(len(self._workers), min(len(self._workers) + _AT_ONCE, count))]
            self._workers += new
            for child in new:
                wait_until_ready(child, 180)

    def counts(self) -> list[Counts]:
        """What each worker has done."""
        return self._board.read(len(self._workers))

    def used(self) -> Used:
        """What Redis has used."""
        info = self.raw.info()
        cpu_s = info["used_cpu_user"] + info["used_cpu_sys"]  # type: ignore[index]  # a mapping, from a client not async
        return Used(cpu_s, info["total_commands_processed"], info["used_memory"])  # type: ignore[index]  # as above

    def workers_cpu_s(self) -> float:
        """Seconds of CPU that the workers have used."""
        times = [psutil.Process(child.pid).cpu_times() for child in self._workers]
        return sum(each.user + each.system for each in times)

    def workers_memory_bytes(self) -> float:
        """Memory of one worker, its share of what all use counted."""
        pids = [child.pid for child in self._workers[:8]]
        return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / len(pids)

    def submit(self, count: int) -> list[str]:
        """Queue *count* jobs."""
        return self.client.submit_many([{"prompt": PROMPT, "seed": seed} for seed in range(count)])

    def settle(self) -> None:
        """Wait until Redis has rewritten its append-only file, which it does after many jobs were queued at once."""
        while self.raw.info("persistence")["aof_rewrite_in_progress"]:  # type: ignore[index]  # as above
            time.sleep(0.1)

    def waiting(self) -> int:
        """How many jobs wait."""
        return self.client.queue_length()

    def empty(self) -> None:
        """Forget what waits, and wait until what runs has ended."""
        self.raw.delete(*Keys().lists(queue_for("default")))
        while self.raw.zcard(Keys().leases):
            time.sleep(0.05)
        self.raw.flushdb()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        wait_or_kill_all(self._workers, 60)
        self.client.close()
        self.raw.close()

    def _start(self, index: int) -> ChildProcess:
        env = {
            "IMAGEFLEET_REDIS_URL": self._server.url,
            "IMAGEFLEET_MODEL_SOURCE": "simulated",
            "IMAGEFLEET_MODEL_REVISION": "0" * 40,
            "IMAGEFLEET_STORAGE_BUCKET": "simulated",
            "SIMULATED_BOARD": str(self._folder / "board"),
            "SIMULATED_SLOT": str(index),
            "SIMULATED_JOB_S": str(self._job_s),
        }
        return start_worker(env, self._folder, name=f"sim{index}", options=_OPTIONS, is_forked=False)


@contextmanager
def team(folder: Path, *, job_s: float) -> Iterator[Team]:
    """A team without workers yet, on a Redis of its own."""
    with RedisServer(folder / "redis", append_only=True) as server:
        found = Team(folder, server, job_s=job_s)
        try:
            yield found
        finally:
            found.close()
