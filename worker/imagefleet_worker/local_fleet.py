"""A whole fleet on one machine: embedded Redis and S3, a worker for each device and a sender of webhooks."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from imagefleet.queues import WEBHOOK_QUEUE
from imagefleet_worker.accelerators import Seat, seats
from imagefleet_worker.children import Child, stop_all
from imagefleet_worker.embedded_redis import EmbeddedRedis
from imagefleet_worker.embedded_s3 import EmbeddedS3
from imagefleet_worker.errors import LocalUnavailable

_SENDER: Final = Seat("webhooks", {"CUDA_VISIBLE_DEVICES": ""})
#: Longer than a worker's own drain, so that it is the worker that decides.
_STOP_S: Final = 40


def is_ready(worker: Child) -> bool:
    """Whether a worker takes jobs: Celery logs `<name> ready.` when it begins to consume."""
    return any("@" in line and " ready." in line for line in worker.output().splitlines())


class LocalFleet:
    """Everything that a job needs, as child processes of this one; a context manager.

    Logs and the queue are kept in *data*; images are held in memory by the embedded S3, and gone when it stops.
    """

    def __init__(
        self,
        data: Path,
        *,
        model: str,
        revision: str | None = None,
        workers: int | None = None,
        redis_port: int | None = None,
        s3_port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a fleet for *model* (a folder or a repository id); *env* are further settings of its workers."""
        self._logs = data.resolve() / "logs"
        self.redis = EmbeddedRedis(data.resolve() / "redis", port=redis_port)
        self.s3 = EmbeddedS3(self._logs, port=s3_port)
        self._model = {"IMAGEFLEET_MODEL_SOURCE": model, "IMAGEFLEET_MODEL_REVISION": revision or ""}
        self._extra = dict(env or {})
        self._seats = [*seats(workers), _SENDER]
        self._workers: dict[Seat, Child] = {}
        self._stopping = threading.Event()

    @property
    def names(self) -> list[str]:
        """The names of the processes that make images or send webhooks."""
        return [seat.name for seat in self._seats]

    def connection(self) -> dict[str, str]:
        """The variables with which clients reach the queue, and anyone the images."""
        return {"IMAGEFLEET_REDIS_URL": self.redis.url, **self.s3.environment()}

    def start(self, timeout_s: float = 600) -> None:
        """Start all of it, and return when every worker takes jobs, or early after `ask_to_stop`.

        Raises:
            LocalUnavailable: where a part ends or is not ready in time; nothing is left running then.
        """
        try:
            self._start_all(timeout_s)
        except BaseException:
            self.stop()
            raise

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stopping.is_set()

    def ask_to_stop(self) -> None:
        """Let `start` and `watch` return soon; for signal handlers."""
        if self.is_stopping:  # asked twice: do not wait for what still runs
            for worker in self._workers.values():
                worker.kill()
        self._stopping.set()

    def watch(self) -> Iterator[tuple[str, int]]:
        """Until `ask_to_stop`, start again each worker that ends, and yield its name and how it ended.

        Raises:
            LocalUnavailable: where Redis or S3 ended, or a worker did before it was ready.
        """
        while not self._stopping.wait(0.5):
            for server in (self.redis.child, self.s3.child):
                if server is not None and not server.is_running:
                    raise LocalUnavailable(f"{server.name} ended:\n{server.last_words()}")
            for seat, worker in list(self._workers.items()):
                if worker.exit_code is not None:
                    if not is_ready(worker):
                        raise _ended(worker)
                    yield seat.name, worker.exit_code
                    self._start_worker(seat)

    def stop(self) -> None:
        """Let the workers finish what they do, then end everything."""
        stop_all(list(self._workers.values()), _STOP_S)
        self.s3.stop()
        self.redis.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_all(self, timeout_s: float) -> None:
        self.redis.start()
        self.s3.start()
        for seat in self._seats:
            self._start_worker(seat)
        deadline = time.monotonic() + timeout_s
        waiting = set(self._seats)
        while waiting and not self._stopping.wait(0.1):
            for seat in list(waiting):
                worker = self._workers[seat]
                if is_ready(worker):
                    waiting.remove(seat)
                elif not worker.is_running or time.monotonic() > deadline:
                    raise _ended(worker)

    def _start_worker(self, seat: Seat) -> None:
        log = self._logs / f"{seat.name}.log"
        log.unlink(missing_ok=True)  # `is_ready` reads the log of this start only
        command = [sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", "worker", "-n", f"{seat.name}@%h"]
        options = ["-Q", WEBHOOK_QUEUE] if seat is _SENDER else []
        self._workers[seat] = Child(seat.name, [*command, *options], log=log, env=self._environment(seat))

    def _environment(self, seat: Seat) -> dict[str, str]:
        usual = {"IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.1,localhost"}  # receivers of one machine are on it
        ours = {**self._model, **self.connection(), "PYTHONUNBUFFERED": "1"}
        return {**usual, **os.environ, **seat.env, **ours, **self._extra}


def _ended(worker: Child) -> LocalUnavailable:
    how = "is not ready" if worker.exit_code is None else f"ended with {worker.exit_code}"
    return LocalUnavailable(f"worker {worker.name} {how}; the end of {worker.log}:\n{worker.last_words()}")
