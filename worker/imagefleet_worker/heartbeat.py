"""Heartbeat: collects the signs of life of this process and writes them down, so that a probe need not ask.

The event loop and the device only leave a mark in memory; one thread writes the file, another asks Redis, because Redis
may take its time to not answer.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import redis
import structlog

from imagefleet_worker import beats
from imagefleet_worker.beats import Beat, State

log = structlog.get_logger(__name__)

_WRITE_EVERY_S = 1.0
_ASK_EVERY_S = 2.0

#: Since when a job has been on the device (None: none is), and when it finished something last.
DeviceSigns = tuple[float | None, float]


class Heartbeat:
    """The signs of life of this process; with an empty *folder* nothing is written, and nothing asked."""

    def __init__(self, folder: str) -> None:
        """Write the first beat, in the state `loading`.

        Raises:
            OSError: where *folder* cannot be made or written to.
        """
        self._folder = folder
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._device: Callable[[], DeviceSigns] = lambda: (None, 0.0)
        pid, now = os.getpid(), beats.now()
        self._beat = Beat(
            pid=pid,
            born=beats.birth_of(pid) or "",
            at=now,
            state="loading",
            state_since=now,
            is_consuming=False,
            consuming_since=now,
            loop_at=now,
            redis_problem="it has not been asked yet",
            redis_at=0.0,
            redis_since=now,
            device_since=None,
            device_at=now,
            device_timeout_s=0.0,
        )
        self._lock = threading.Lock()
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            beats.write(folder, self._beat)
            self._start("heartbeat", self._write, every_s=_WRITE_EVERY_S)

    @property
    def state(self) -> State:
        """Where the process is in its life."""
        with self._lock:
            return self._beat.state

    def loaded(self) -> None:
        """The model is there: jobs may come."""
        self._enter("ready")

    def draining(self) -> None:
        """No more jobs are taken; those that run may end."""
        self._enter("draining")

    def consuming(self, *, yes: bool) -> None:
        """Celery's event loop is about to turn, or has been left because Redis was lost."""
        now = beats.now()
        with self._lock:
            self._beat = self._beat._replace(is_consuming=yes, consuming_since=now, loop_at=now)

    def turn(self) -> None:
        """Celery's event loop has turned; it calls this every second."""
        with self._lock:
            self._beat = self._beat._replace(loop_at=beats.now())

    def watch_device(self, signs: Callable[[], DeviceSigns], *, timeout_s: float) -> None:
        """Ask *signs* at every beat how the device does; it may be silent for *timeout_s* while a job is on it."""
        with self._lock:
            self._beat = self._beat._replace(device_timeout_s=timeout_s)
        self._device = signs

    def watch_redis(self, client: "redis.Redis") -> None:
        """Ask Redis every two seconds whether it is there."""
        if self._folder:
            self._start("heartbeat-redis", lambda: self._ask(client), every_s=_ASK_EVERY_S)

    def close(self) -> None:
        """Write no more; the file stays, and tells of a process that is gone."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _enter(self, state: State) -> None:
        with self._lock:
            if self._beat.state != state:
                self._beat = self._beat._replace(state=state, state_since=beats.now())
        self._write()

    def _start(self, name: str, work: Callable[[], None], *, every_s: float) -> None:
        def run() -> None:
            while not self._stopped.is_set():
                work()
                self._stopped.wait(every_s)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _write(self) -> None:
        if not self._folder:
            return
        device_since, device_at = self._device()
        with self._lock:
            self._beat = self._beat._replace(at=beats.now(), device_since=device_since, device_at=device_at)
            try:
                beats.write(self._folder, self._beat)
            except OSError as error:  # the next beat may get through; probes tell when none does
                log.warning("heartbeat not written", folder=self._folder, error=str(error))

    def _ask(self, client: "redis.Redis") -> None:
        problem = ""
        try:
            client.ping()
        except redis.RedisError as error:
            problem = f"{type(error).__name__}: {error}"
        now = beats.now()
        with self._lock:
            last = self._beat
            changed = bool(problem) != bool(last.redis_problem)
            self._beat = last._replace(
                redis_problem=problem,
                redis_at=last.redis_at if problem else now,
                redis_since=now if changed else last.redis_since,
            )
