"""The notifier: notices new messages in the lists of some queues, without polling and without taking them.

It uses client-side caching (https://redis.io/docs/latest/develop/reference/client-side-caching/): Redis remembers which
keys a connection has read, and sends it an invalidation when one of them changes. So one EXISTS of all lists asks Redis
for a notification of the next change in any of them. That takes one connection, and no rights beyond reading.

The notifier has no thread. Celery's event loop, which claims, also reads the notifier's socket: no thread has to wake
another one between the notification and the claim.

Every idle worker is notified of each message, and one of them claims it. A worker whose claim found nothing waits for a
short time after the next notification, and claims only if the message is still there. The worker that has claimed the
last message does not wait.
"""

import random
from collections.abc import Callable
from typing import Any, Protocol

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from imagefleet.errors import reason_of

log = structlog.get_logger(__name__)

#: The lists are read at least this often, because a half-open connection gets no notifications.
_LONGEST_SILENCE_S = 2.0
#: How often the lists are read if Redis does not notify.
_POLL_S = 0.05
#: The longest wait after a notification. Of many workers, the first has waited much less.
_LONGEST_BACKOFF_S = 0.02
_SHORTEST_BACKOFF_S = 0.0025


class Loop(Protocol):
    """The part of kombu's event loop that a notifier needs. Its thread calls everything in this module."""

    def add_reader(self, fds: int, callback: Callable[[], None]) -> Any:
        """Call *callback* whenever *fds* can be read."""

    def remove(self, fd: int) -> Any:
        """Watch *fd* no more."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call *callback* in *delay* seconds."""


class QueueNotifier:
    """Calls *on_message* once after each `arm`, when one of *list_keys* may hold a message."""

    def __init__(
        self, client: "redis.Redis", *, list_keys: list[str], on_message: Callable[[], None], loop: Loop
    ) -> None:
        """Use a connection of *client*, which must speak RESP3."""
        self._client = client
        self._list_keys = list_keys
        self._on_message = on_message
        self._loop = loop
        self._connection: Any = None
        self._fd = -1
        self._can_track = True
        self._is_armed = False
        self._is_closed = False
        #: Number of the last `arm`: a delayed call that belongs to an earlier one does nothing.
        self._arming = 0
        self._backoff_s = 0.0
        self._tick(-1)

    def arm(self, *, found_nothing: bool = False) -> None:
        """Notify of the next message; at once if one waits, unless the last claim *found_nothing*.

        It may call *on_message* before it returns.
        """
        longer_s = max(_SHORTEST_BACKOFF_S, 2 * self._backoff_s)
        self._backoff_s = min(longer_s, _LONGEST_BACKOFF_S) if found_nothing else 0.0
        self._arm(at_once=not found_nothing)

    def close(self) -> None:
        """Notify no more."""
        self._is_closed, self._is_armed = True, False
        self._disconnect()

    def _arm(self, *, at_once: bool = True) -> None:
        self._arming += 1
        self._is_armed = True
        retry = self._client.get_retry() or Retry(NoBackoff(), 0)
        try:
            has_message = retry.call_with_retry(self._read, lambda _error: self._disconnect())
        except redis.RedisError as error:
            log.debug("the notifier cannot read the lists", error=reason_of(error))
            has_message = True  # the claim will fail, too, and its error is handled
        if has_message and at_once:
            self._notify()
            return
        if has_message:  # the last claim found nothing: another worker may be faster again, or nobody can claim this
            arming = self._arming
            self._loop.call_later(self._backoff_s, lambda: self._notify() if arming == self._arming else None)
            return
        # redis-py may have connected again, and the new socket may have the old number; kombu does the same.
        self._fd = self._connection._sock.fileno()  # noqa: SLF001  # redis-py has no other way to it
        self._loop.add_reader(self._fd, self._on_readable)
        if self._is_readable():  # the loop does not see what redis-py has in its buffer
            self._on_readable()
        elif not self._can_track:
            self._read_later(_POLL_S)

    def _read(self) -> bool:
        """Whether a list has a message. Redis notifies of the next change."""
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            self._connection.register_connect_callback(self._track)  # called each time redis-py connects
            self._track(self._connection)
        exists = ("EXISTS", *self._list_keys)
        if self._can_track:
            self._connection.send_packed_command(self._connection.pack_commands([("CLIENT", "CACHING", "YES"), exists]))
            self._connection.read_response()
        else:
            self._connection.send_command(*exists)
        return bool(self._connection.read_response())  # skips notifications of earlier changes

    def _track(self, connection: Any) -> None:
        try:
            for command in (("TRACKING", "ON", "OPTIN"), ("CACHING", "YES")):  # rights to both are needed
                connection.send_command("CLIENT", *command, check_health=False)
                connection.read_response()
            self._can_track = True
        except redis.ResponseError as error:
            log.warning("this Redis sends no notifications; reading the lists every 50 ms", error=reason_of(error))
            self._can_track = False

    def _disconnect(self) -> None:
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
            return True  # the read that follows raises the reason

    def _on_readable(self) -> None:
        """Redis has sent something, or the connection has ended."""
        if self._is_armed and not self._backoff_s:
            # A message may wait, and what Redis has sent says no more than that: the next `arm` reads it.
            self._loop.remove(self._fd)
            self._notify()
            return
        arming = self._arming
        self._skip_notifications()
        if self._is_armed and arming == self._arming:
            self._read_later(random.uniform(0, self._backoff_s), was_notified=True)  # noqa: S311  # no secret

    def _skip_notifications(self) -> None:
        try:
            while self._connection is not None and self._connection.can_read(timeout=0):
                self._connection.read_response(push_request=True)
        except (redis.RedisError, OSError) as error:
            log.debug("the notifier connects again", error=reason_of(error))
            self._disconnect()

    def _tick(self, last_arming: int) -> None:
        """Read the lists again after a silence: the connection may be half open, or lead to a replica by now."""
        if self._is_closed:
            return
        if self._arming == last_arming:
            self._leave_replica()
            self._read_again(last_arming)
        arming = self._arming
        self._loop.call_later(_LONGEST_SILENCE_S, lambda: self._tick(arming))

    def _leave_replica(self) -> None:
        """Connect anew if the server is no primary any more: one that follows nobody would never notify."""
        if self._connection is None:
            return
        try:
            self._connection.send_command("HELLO", "3")
            role = dict(self._connection.read_response()).get("role")
        except (redis.RedisError, OSError, ValueError) as error:
            log.debug("the notifier connects again", error=reason_of(error))
            role = None
        if role not in ("master", "primary"):
            self._disconnect()

    def _read_later(self, pause_s: float, *, was_notified: bool = False) -> None:
        arming = self._arming
        self._loop.call_later(pause_s, lambda: self._read_again(arming, was_notified=was_notified))

    def _read_again(self, arming: int, *, was_notified: bool = False) -> None:
        """Arm again, unless it was armed since; wait longer next time if it *was_notified* and no message is left."""
        if not self._is_armed or arming != self._arming:
            return
        self._arm()
        if was_notified and self._is_armed:
            self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)

    def _notify(self) -> None:
        self._is_armed = False
        self._on_message()
