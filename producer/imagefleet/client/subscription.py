# Made from async_subscription.py by `make fix`: change that file instead.
"""`Subscription`: the channels that one watch listens to, over a socket of the pool."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from imagefleet.client.redis_client import TIMEOUT_S
from imagefleet.client.subscription_pool import Subscriber, SubscriptionPool
from imagefleet.errors import QueueUnavailable

if TYPE_CHECKING:
    from redis.client import PubSub


class Subscription:
    """One subscription at a time, for one watch."""

    def __init__(self, pool: "SubscriptionPool[PubSub]", *, errors: Callable[[], AbstractContextManager[None]]) -> None:
        """Take sockets from *pool*; *errors* turns what redis-py raises into `QueueUnavailable`."""
        self._pool = pool
        self._errors = errors
        self._subscriber: Subscriber[PubSub] | None = None

    def close(self) -> None:
        """Close the socket."""
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            subscriber.pubsub.close()

    def release(self) -> None:
        """Unsubscribe from everything, and leave the socket to the next watch."""
        if self._subscriber is None:
            return
        try:
            with self._errors():
                self._subscriber.pubsub.unsubscribe()
        except QueueUnavailable:
            self.close()
        else:
            self._pool.release(self._subscriber)
            self._subscriber = None

    def subscribe(self, *channels: str) -> None:
        """Listen to *channels* only; returns once Redis has confirmed it."""
        self.close()
        if idle := self._pool.acquire_idle():
            try:
                return self._subscribe(idle, channels)
            except QueueUnavailable:  # an idle socket may die unnoticed
                pass
        return self._subscribe(self._pool.new(), channels)

    def listen(self, timeout_s: float) -> str | None:
        """The next message, or None after *timeout_s*."""
        end = monotonic() + timeout_s
        while (left := end - monotonic()) > 0:
            heard = self._next(left)
            if heard is not None and heard["type"] == "message":
                return heard["data"]
        return None

    def _subscribe(self, subscriber: "Subscriber[PubSub]", channels: Sequence[str]) -> None:
        self._subscriber = subscriber
        with self._closing_at_errors():
            subscriber.pubsub.subscribe(*channels)
            subscriber.unconfirmed += len(channels)
            while subscriber.unconfirmed >= len(channels):
                if self._next(TIMEOUT_S) is None:
                    raise TimeoutError("no answer to a subscription")

    def _next(self, timeout_s: float) -> Any:
        if self._subscriber is None:
            with self._errors():
                raise ConnectionError("the subscription broke")
        with self._closing_at_errors():
            heard = self._subscriber.pubsub.get_message(timeout=timeout_s)
        if heard is not None and heard["type"] == "subscribe":
            self._subscriber.unconfirmed -= 1
        return heard

    @contextmanager
    def _closing_at_errors(self) -> Generator[None, None, None]:
        """Close the socket at any error, an interrupted caller included: half an answer may have been read."""
        try:
            with self._errors():
                yield
        except BaseException:
            self.close()
            raise
