"""Doorbell: knows when a message comes, without asking all the time and without taking it.

Redis remembers for a connection which keys it has read and sends it one word when one of them changes (client-side
caching, https://redis.io/docs/latest/develop/reference/client-side-caching/). A claim reads all lists of the queues, so
claims that are made on the bell's own connection arm it for all of them at once, with no rights beyond theirs.

It has no thread: the loop that claims also listens to its socket, so that between the word and the claim no thread has
to wake another, and nothing is asked twice.

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

from imagefleet.records import Command

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

    def execute(self, command: Command) -> Any:
        """The reply of *command*. Where it reads the lists, the next change of one of them is heard.

        Sent again on a new connection where one breaks, so it must be one that may run twice.

        Raises:
            redis.RedisError: where Redis cannot be reached, or refuses.
        """
        retry = self._client.get_retry() or Retry(NoBackoff(), 0)
        return retry.call_with_retry(lambda: self._ask(command), lambda _error: self._hang_up())

    def wait(self, *, in_vain: bool = False) -> None:
        """Ring at the next change since `execute` has read the lists. Say whether the last ring was *in_vain*."""
        longer_s = max(_SHORTEST_SPREAD_S, 2 * self._spread_s)
        self._spread_s = min(longer_s, _LONGEST_SPREAD_S) if in_vain else 0.0
        self._go_on()

    def close(self) -> None:
        """Ring no more."""
        self._is_closed, self._is_waiting = True, False
        self._hang_up()

    def _go_on(self) -> None:
        self._wait += 1
        self._is_waiting = True
        if self._connection is None:
            self._ring()  # whoever answers will connect
            return
        # As kombu does for its own sockets: redis-py may have connected anew, and be given the same number.
        self._fd = self._connection._sock.fileno()  # noqa: SLF001  # redis-py has no other way to it
        self._loop.add_reader(self._fd, self._hear)
        if self._is_readable():  # what lies in redis-py's buffer already, the loop cannot see
            self._hear()
        elif not self._can_track:
            self._look_later(_POLL_S)

    def _ask(self, command: Command) -> Any:
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            self._connection.register_connect_callback(self._track)  # whenever redis-py connects anew
            self._track(self._connection)
        self._connection.send_command(*command)
        return self._connection.read_response()  # words that came before it are of an older state, and passed over

    def _track(self, connection: Any) -> None:
        connection.send_command("CLIENT", "TRACKING", "ON", "NOLOOP", check_health=False)
        try:
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
        """Ring where there is a message, or where only a claim can say what is wrong; else go on waiting."""
        if not self._is_waiting or wait != self._wait:
            return
        try:
            has_message = bool(self.execute(("EXISTS", *self._list_keys)))
        except redis.RedisError:
            has_message = True
        if has_message:
            self._ring()
        elif has_rung:
            self.wait(in_vain=True)
        else:
            self._go_on()

    def _ring(self) -> None:
        self._is_waiting = False
        self._on_ring()
