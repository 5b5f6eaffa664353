"""Deferred commands: commands whose replies nobody waits for, sent later if Redis cannot take them now."""

import threading
from collections import deque
from typing import Final

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.scripts import Command

log = structlog.get_logger(__name__)

#: How the errors of Redis begin that pass. With any other, Redis has refused a command for good.
_PASSING: Final = (
    *("OOM", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "TRYAGAIN", "CLUSTERDOWN"),
    *("UNBLOCKED", "NOAUTH", "WRONGPASS", "NOPERM", "max number of clients"),
)


class DeferredCommands:
    """Sends commands whose replies nobody waits for; those that cannot be sent now are sent later.

    They are sent in the order in which they came: one that comes while others are kept is kept behind them.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        #: How many commands Redis has taken.
        self.sent = 0
        # A signal handler may send while its thread holds a lock.
        self._lock = threading.RLock()
        self._catching_up = threading.RLock()
        self._unsent: deque[Command] = deque()

    def __len__(self) -> int:
        """The number of commands that are kept."""
        return len(self._unsent)

    def send(self, command: Command) -> None:
        """Send *command* now, or keep it for `catch_up`."""
        with self._lock:
            if self._unsent:
                self._unsent.append(command)
                return
        try:
            self._execute(command)
        except redis.RedisError as error:
            log.warning("the end of a claim is sent later", error=reason_of(error))
            with self._lock:
                self._unsent.append(command)

    def catch_up(self) -> None:
        """Send the commands that were kept. One that Redis refuses for good is dropped, with an error in the log.

        Raises:
            redis.RedisError: if Redis still cannot take them; the rest is kept.
        """
        with self._catching_up:
            while self._unsent:
                command = self._unsent[0]
                self._execute(command)
                with self._lock:
                    if self._unsent and self._unsent[0] is command:  # a signal handler may have sent it again
                        self._unsent.popleft()

    def _execute(self, command: Command) -> None:
        try:
            self._client.execute_command(*command)
        except redis.ResponseError as error:
            if _passes(error):
                raise
            log.exception("redis refuses the end of a claim for good; the lease of its message runs out")
        self.sent += 1


def _passes(error: redis.ResponseError) -> bool:
    # redis-py cuts the code off the messages of some errors, and gives these classes of their own.
    is_of_its_own = type(error) is not redis.ResponseError
    return is_of_its_own or str(error).removeprefix("-").startswith(_PASSING)
