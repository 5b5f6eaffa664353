"""Doorbell: knows when a message comes, without asking all the time and without taking it.

Redis remembers for a connection which keys it has read and sends it one word when one of them changes (client-side
caching, https://redis.io/docs/latest/develop/reference/client-side-caching/). Reading whether a queue's lists exist
therefore arms a bell for all of them at once, on one connection, with no rights beyond reading.

Every idle worker of a fleet hears of each message, and one gets it. So a bell that rang in vain stands back for a
moment the next time, and rings only where the message is still there; who got the last one comes first.
"""

import random
import threading
from collections.abc import Callable
from typing import Any

import redis
import structlog

log = structlog.get_logger(__name__)

#: A bell that was not heard, because a connection is half open, costs at most this long.
_LONGEST_WAIT_S = 2.0
_POLL_S = 0.05
#: The most that a bell stands back: of many, the first is back much sooner.
_LONGEST_SPREAD_S = 0.02
_SHORTEST_SPREAD_S = 0.0025


class Doorbell:
    """Rings when one of *list_keys* may hold a message, once for each time that it is armed."""

    def __init__(self, client: "redis.Redis", *, list_keys: list[str], on_ring: Callable[[], None]) -> None:
        """Use a connection of *client*, which must speak RESP3."""
        self._client = client
        self._list_keys = list_keys
        self._on_ring = on_ring
        self._armed = threading.Event()
        self._closed = False
        self._can_track = True
        self._spread_s = 0.0
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def arm(self, *, in_vain: bool = False) -> None:
        """Ring at the next message; at once where there is one already. Say whether the last ring was *in_vain*."""
        self._note(in_vain=in_vain)
        self._armed.set()

    def close(self) -> None:
        """Ring no more."""
        self._closed = True
        self._armed.set()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._listen()
            except redis.RedisError as error:
                log.debug("doorbell reconnects", error=str(error))
                self._armed.set()  # whoever armed it waits for a ring
                threading.Event().wait(1.0)

    def _listen(self) -> None:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            self._can_track = self._track(connection)
            while not self._closed:
                self._armed.wait()
                self._armed.clear()
                self._wait_for_message(connection)
                self._on_ring()
        finally:
            connection.disconnect()
            pool.release(connection)

    def _track(self, connection: Any) -> bool:
        connection.send_command("CLIENT", "TRACKING", "ON")
        try:
            connection.read_response()
        except redis.ResponseError as error:
            log.warning("this Redis does not tell of changes; asking every 50 ms", error=str(error))
            return False
        return True

    def _wait_for_message(self, connection: Any) -> None:
        """Return when a list has a message."""
        is_late = False
        while not self._closed and not self._has_message(connection):
            if is_late:
                self._note(in_vain=True)
            if not self._can_track:
                threading.Event().wait(_POLL_S)
            elif is_late := connection.can_read(timeout=_LONGEST_WAIT_S):
                threading.Event().wait(random.uniform(0, self._spread_s))  # noqa: S311  # no secret

    def _has_message(self, connection: Any) -> bool:
        """Whether a list has one; Redis tells of the next change after it."""
        while connection.can_read(timeout=0):  # of an earlier round
            connection.read_response(push_request=True)
        connection.send_command("EXISTS", *self._list_keys)
        reply = connection.read_response(push_request=True)
        while isinstance(reply, list):  # a late word of an earlier round may come before the answer
            reply = connection.read_response(push_request=True)
        return bool(reply)

    def _note(self, *, in_vain: bool) -> None:
        longer_s = max(_SHORTEST_SPREAD_S, 2 * self._spread_s)
        self._spread_s = min(longer_s, _LONGEST_SPREAD_S) if in_vain else 0.0
