"""Doorbell: knows when a message comes, without asking all the time and without taking it.

Redis remembers for a connection which keys it has read and sends it one word when one of them changes (client-side
caching, https://redis.io/docs/latest/develop/reference/client-side-caching/). Reading whether a queue's lists exist
therefore arms a bell for all of them at once, on one connection, with no rights beyond reading.

It has no thread: the loop that claims also listens to its socket, so that between the word and the claim no thread has
to wake another.

Every idle worker of a fleet hears of each message, and one gets it. So a bell that rang in vain stands back for a
moment the next time, and rings only where the message is still there; who got the last one comes first.
"""

import random
from collections.abc import Callable
from typing import Any, Protocol

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger(__name__)

#: A bell that was not heard, because a connection is half open, costs at most this long.
_LONGEST_WAIT_S = 2.0
#: How often the lists are read where Redis does not tell of changes.
_POLL_S = 0.05
#: The most that a bell stands back: of many, the first is back much sooner.
_LONGEST_SPREAD_S = 0.02
_SHORTEST_SPREAD_S = 0.0025


class Loop(Protocol):
    """What a bell needs of kombu's event loop; everything here is called from its thread."""

    def add_reader(self, fds: int, callback: Callable[[], None]) -> Any:
        """Call *callback* whenever *fds* can be read."""

    def remove(self, fd: int) -> Any:
        """Watch *fd* no more."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call *callback* in *delay* seconds."""


class Doorbell:
    """Rings when one of *list_keys* may hold a message, once for each time that it is told to wait."""

    def __init__(self, client: "redis.Redis", *, list_keys: list[str], on_ring: Callable[[], None], loop: Loop) -> None:
        """Use a connection of *client*, which must speak RESP3."""
        self._client = client
        self._list_keys = list_keys
        self._on_ring = on_ring
        self._loop = loop
        self._connection: Any = None
        self._fd = -1
        self._can_track = True
        self._is_waiting = False
        self._is_closed = False
        #: Counts the waits, so that a look that was put off is not made in a later one.
        self._wait = 0
        self._spread_s = 0.0
        self._tick(-1)

    def wait(self, *, in_vain: bool = False) -> None:
        """Ring at the next message; at once where there is one already, if the last ring was not *in_vain*."""
        longer_s = max(_SHORTEST_SPREAD_S, 2 * self._spread_s)
        self._spread_s = min(longer_s, _LONGEST_SPREAD_S) if in_vain else 0.0
        self._go_on(at_once=not in_vain)

    def close(self) -> None:
        """Ring no more."""
        self._is_closed, self._is_waiting = True, False
        self._hang_up()

    def _go_on(self, *, at_once: bool = True) -> None:
        self._wait += 1
        self._is_waiting = True
        retry = self._client.get_retry() or Retry(NoBackoff(), 0)
        try:
            has_message = retry.call_with_retry(self._read, lambda _error: self._hang_up())
        except redis.RedisError as error:
            log.debug("the doorbell cannot read", error=str(error))
            has_message = True  # a claim will say what is wrong
        if has_message and at_once:
            self._ring()
            return
        if (
            has_message
        ):  # and yet a claim found nothing: another may be faster again, or it is one that nobody can claim
            wait = self._wait
            self._loop.call_later(self._spread_s, lambda: self._ring() if wait == self._wait else None)
            return
        # As kombu does for its own sockets: redis-py may have connected anew, and be given the same number.
        self._fd = self._connection._sock.fileno()  # noqa: SLF001  # redis-py has no other way to it
        self._loop.add_reader(self._fd, self._hear)
        if self._is_readable():  # what lies in redis-py's buffer already, the loop cannot see
            self._hear()
        elif not self._can_track:
            self._look_later(_POLL_S)

    def _read(self) -> bool:
        """Whether a list has a message; Redis tells of the next change."""
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            self._connection.register_connect_callback(self._track)  # whenever redis-py connects anew
            self._track(self._connection)
        exists = ("EXISTS", *self._list_keys)
        if self._can_track:
            self._connection.send_packed_command(self._connection.pack_commands([("CLIENT", "CACHING", "YES"), exists]))
            self._connection.read_response()
        else:
            self._connection.send_command(*exists)
        return bool(self._connection.read_response())  # words before it are of an older state, and passed over

    def _track(self, connection: Any) -> None:
        try:
            for command in (("TRACKING", "ON", "OPTIN"), ("CACHING", "YES")):  # rights to both are needed
                connection.send_command("CLIENT", *command, check_health=False)
                connection.read_response()
            self._can_track = True
        except redis.ResponseError as error:
            log.warning("this Redis does not tell of changes; asking every 50 ms", error=str(error))
            self._can_track = False

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if self._fd >= 0:
            self._loop.remove(self._fd)
            self._fd = -1
        if connection is not None:
            connection.deregister_connect_callback(self._track)
            connection.disconnect()
            self._client.connection_pool.release(connection)

    def _is_readable(self) -> bool:
        try:
            return self._connection.can_read(timeout=0)
        except (redis.RedisError, OSError):
            return True  # reading will tell why

    def _hear(self) -> None:
        """Redis said something, or the connection has ended."""
        try:
            while self._connection is not None and self._connection.can_read(timeout=0):
                self._connection.read_response(push_request=True)
        except (redis.RedisError, OSError) as error:
            log.debug("doorbell reconnects", error=str(error))
            self._hang_up()
        if self._is_waiting and self._spread_s:
            self._look_later(random.uniform(0, self._spread_s), has_rung=True)  # noqa: S311  # no secret
        elif self._is_waiting:
            self._ring()

    def _tick(self, last_wait: int) -> None:
        """Look at the lists where nothing was heard for a while: the connection may be half open."""
        if self._is_closed:
            return
        if self._wait == last_wait:
            self._look(last_wait)
        wait = self._wait
        self._loop.call_later(_LONGEST_WAIT_S, lambda: self._tick(wait))

    def _look_later(self, pause_s: float, *, has_rung: bool = False) -> None:
        wait = self._wait
        self._loop.call_later(pause_s, lambda: self._look(wait, has_rung=has_rung))

    def _look(self, wait: int, *, has_rung: bool = False) -> None:
        """Go on with that wait; where it *has_rung*, the ring was in vain if there is no message by now."""
        if not self._waits(wait):
            return
        self._go_on()
        if has_rung and self._is_waiting:
            self._spread_s = min(2 * self._spread_s, _LONGEST_SPREAD_S)

    def _waits(self, wait: int) -> bool:
        """Whether it is still that wait."""
        return self._is_waiting and wait == self._wait

    def _ring(self) -> None:
        self._is_waiting = False
        self._on_ring()
