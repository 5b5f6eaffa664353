"""Subscribers that rest: sockets that have been subscribed, kept for the next watch, which then need not connect."""

import os
from collections import deque
from typing import Generic, TypeVar

P = TypeVar("P")


class Subscriber(Generic[P]):
    """One of redis-py's subscribers, and which of Redis' answers it still has to read."""

    __slots__ = ("pubsub", "unconfirmed")

    def __init__(self, pubsub: P) -> None:
        self.pubsub = pubsub
        #: Confirmations that are still to come; they come in the order of the subscriptions.
        self.unconfirmed = 0


class Resting(Generic[P]):
    """Subscribers that listen to nothing, for the threads of one process."""

    def __init__(self) -> None:
        self._subscribers: deque[Subscriber[P]] = deque()
        self._pid = os.getpid()

    def keep(self, subscriber: Subscriber[P]) -> None:
        """Keep *subscriber*, which has unsubscribed from everything."""
        self._subscribers.append(subscriber)

    def take(self) -> Subscriber[P] | None:
        """The one that was kept last, or None."""
        if self._pid != os.getpid():  # after a fork the sockets are the parent's, too
            self._subscribers, self._pid = deque(), os.getpid()
        try:
            return self._subscribers.pop()
        except IndexError:
            return None
