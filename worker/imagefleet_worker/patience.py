"""Patience: commands that must reach Redis, however long it is away."""

import threading
from typing import Any

import redis
import structlog
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from imagefleet.records import Command
from imagefleet_worker.flights import Flight

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_S = 2.0


class Patience:
    """Executes commands of jobs, and tries again for as long as Redis cannot be reached and the job is ours."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def execute(self, command: Command, *, flight: Flight) -> Any:
        """The reply of *command*, whenever it comes.

        A command may run twice when its first reply was lost; every command of `imagefleet.records` allows for that.

        Raises:
            LeaseLost: when the job became another worker's in the meantime.
            JobCanceled, JobExpired: never; an end that has come about is recorded all the same.
        """
        pause_s = 0.05
        while True:
            try:
                return self._client.execute_command(*command)
            except (redis.ConnectionError, redis.TimeoutError, ReadOnlyError) as error:
                log.warning("waiting for redis", job_id=flight.job_id, error=str(error))
            except OutOfMemoryError as error:
                log.warning("waiting for memory in redis", job_id=flight.job_id, error=str(error))
            except redis.ResponseError as error:
                if not str(error).startswith(("LOADING", "MISCONF", "MASTERDOWN")):
                    raise
                log.warning("redis refuses for now", job_id=flight.job_id, error=str(error))
            if flight.is_lost:
                flight.check()
            threading.Event().wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


class Backlog:
    """Sends commands whose replies nobody waits for; what cannot be sent now is sent later, in order."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._lock = threading.Lock()
        self._unsent: list[Command] = []

    def send(self, command: Command) -> None:
        """Send *command* now, or keep it for `catch_up`."""
        try:
            self._client.execute_command(*command)
        except redis.RedisError as error:
            log.warning("the end of a claim is sent later", error=str(error))
            with self._lock:
                self._unsent.append(command)

    def catch_up(self) -> None:
        """Send what was kept.

        Raises:
            redis.RedisError: where Redis still cannot be reached; the rest is kept.
        """
        while self._unsent:
            self._client.execute_command(*self._unsent[0])
            with self._lock:
                self._unsent.pop(0)
