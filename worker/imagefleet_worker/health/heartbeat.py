"""The heartbeat of this process: collects its signs of life and writes them to a file, so that a probe asks nobody.

The event loop and the device only set a mark in memory. One thread writes the file. Another one pings Redis, because a
ping may block until its timeout.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis
import structlog

from imagefleet.errors import described, reason_of
from imagefleet_worker.health import heartbeat_file
from imagefleet_worker.health.heartbeat_file import Beat, State

log = structlog.get_logger(__name__)

_WRITE_EVERY_S: Final = 1.0
_PING_EVERY_S: Final = 2.0
_JOIN_S: Final = 2.0

#: The moment since which a job has been on the device (None: no job is), and the moment of the device's last sign.
DeviceSigns = tuple[float | None, float]


class Heartbeat:
    """The signs of life of this process; with an empty *folder* nothing is written and Redis is not pinged."""

    def __init__(
        self,
        folder: str,
        *,
        client: "redis.Redis",
        device_signs: Callable[[], DeviceSigns],
        device_timeout_s: float,
    ) -> None:
        """Begin in the state `loading`; `start` writes the first beat.

        Args:
            folder: Where the heartbeat file lies.
            client: Pinged every two seconds; its timeouts should be short.
            device_signs: Asked at every beat.
            device_timeout_s: How long the device may give no sign while a job is on it.
        """
        self._folder = folder
        self._client = client
        self._device_signs = device_signs
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._beat = _first_beat(device_timeout_s)
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._write, _WRITE_EVERY_S), name="heartbeat", daemon=True),
            threading.Thread(
                target=self._repeat, args=(self._ping, _PING_EVERY_S), name="heartbeat-redis", daemon=True
            ),
        ]

    def start(self) -> None:
        """Write the first beat, and start both threads.

        Raises:
            OSError: If the folder cannot be made or written to.
        """
        if not self._folder:
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        heartbeat_file.write(self._folder, self._beat)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Write no more; the file stays, and tells of a process that has ended."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=_JOIN_S)

    @property
    def state(self) -> State:
        """Whether the process loads, takes jobs, or drains."""
        with self._lock:
            return self._beat.state

    def loaded(self) -> None:
        """The model is loaded: jobs may come."""
        self._enter("ready")

    def draining(self) -> None:
        """The process claims no more jobs; the running ones may finish."""
        self._enter("draining")

    def consuming(self, *, yes: bool) -> None:
        """Celery's event loop is about to turn, or has stopped because the connection to Redis was lost."""
        now = heartbeat_file.now()
        with self._lock:
            self._beat = self._beat._replace(is_consuming=yes, consuming_since=now, loop_at=now)

    def turn(self) -> None:
        """Celery's event loop has turned; it calls this every second."""
        with self._lock:
            self._beat = self._beat._replace(loop_at=heartbeat_file.now())

    def _enter(self, state: State) -> None:
        with self._lock:
            if self._beat.state != state:
                self._beat = self._beat._replace(state=state, state_since=heartbeat_file.now())
        self._write()

    def _repeat(self, step: Callable[[], None], every_s: float) -> None:
        while not self._stopped.is_set():
            step()
            self._stopped.wait(every_s)

    def _write(self) -> None:
        if not self._folder:
            return
        device_since, device_at = self._device_signs()
        with self._lock:
            self._beat = self._beat._replace(at=heartbeat_file.now(), device_since=device_since, device_at=device_at)
            try:
                heartbeat_file.write(self._folder, self._beat)
            except OSError as error:  # the next beat may be written; probes notice if none is
                log.warning("heartbeat not written", folder=self._folder, error=reason_of(error))

    def _ping(self) -> None:
        problem = ""
        try:
            self._client.ping()
        except redis.RedisError as error:
            problem = f"{described(error)}"
        now = heartbeat_file.now()
        with self._lock:
            last = self._beat
            changed = bool(problem) != bool(last.redis_problem)
            self._beat = last._replace(
                redis_problem=problem,
                redis_at=last.redis_at if problem else now,
                redis_since=now if changed else last.redis_since,
            )


def _first_beat(device_timeout_s: float) -> Beat:
    pid, now = os.getpid(), heartbeat_file.now()
    return Beat(
        pid=pid,
        born=heartbeat_file.birth_of(pid) or "",
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
        device_timeout_s=device_timeout_s,
    )
