"""`SubscriptionPool`: sockets without a subscription, kept for the next watch, which then need not connect."""

from collections.abc import Callable
from typing import Generic, TypeVar

from imagefleet.store.idle import Idle

P = TypeVar("P")


class Subscriber(Generic[P]):
    """A `PubSub` of redis-py, and the number of confirmations that it still has to read."""

    __slots__ = ("pubsub", "unconfirmed")

    def __init__(self, pubsub: P) -> None:
        self.pubsub = pubsub
        #: Subscriptions that Redis has not confirmed yet; it confirms them in their order.
        self.unconfirmed = 0


class SubscriptionPool(Generic[P]):
    """Idle subscribers, for the threads of one process."""

    def __init__(self, open_pubsub: Callable[[], P]) -> None:
        """Make new subscribers with *open_pubsub*."""
        self._open = open_pubsub
        self._idle: Idle[Subscriber[P]] = Idle()

    def new(self) -> Subscriber[P]:
        """A subscriber that connects when it is first used."""
        return Subscriber(self._open())

    def release(self, subscriber: Subscriber[P]) -> None:
        """Keep *subscriber*, which has unsubscribed from everything."""
        self._idle.put(subscriber)

    def acquire_idle(self) -> Subscriber[P] | None:
        """The subscriber that was released last, or None."""
        return self._idle.take()
