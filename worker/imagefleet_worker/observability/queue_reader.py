"""The queue reader: what waits, runs and falls due in the queues of the fleet, read from Redis when somebody asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store import queue_stats, worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.queue_stats import SOON_S, Counts
from imagefleet.store.scripts import Command


@dataclass(frozen=True, slots=True)
class QueueReader:
    """Reads over *client*, whose timeouts are a second or two, so that an answer comes in time without Redis."""

    client: "redis.Redis | None" = None
    keys: Keys = field(default_factory=Keys)
    #: The queues that this process consumes.
    queues: tuple[str, ...] = ()
    #: The seconds before it is due from which a delayed message is wanted.
    soon_s: float = SOON_S

    def one(self, queue: str, *, soon_s: float | None = None) -> Counts:
        """The counts of *queue*.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        replies = self._ask(queue_stats.counts(self.keys, [queue], soon_s=self.soon_s if soon_s is None else soon_s))
        return queue_stats.read_counts(self.keys, [queue], replies)[1][queue]

    def all(self) -> tuple[dict[str, Counts], int, int]:
        """The counts of each queue that this process reports, the number of delayed messages and of dead letters.

        A sender of webhooks reports all queues of the fleet: it runs where a model has no worker.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        queues = list(self.queues)
        if WEBHOOK_QUEUE in queues:
            [known] = self._ask([worker_registry.queue_names(self.keys)])
            queues = sorted({*queues, *known})
        *counts, dead = self._ask(
            [*queue_stats.counts(self.keys, queues, soon_s=self.soon_s), queue_stats.dead_letters(self.keys)]
        )
        delayed, by_queue = queue_stats.read_counts(self.keys, queues, counts)
        return by_queue, delayed, int(dead)

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        if self.client is None:
            raise redis.ConnectionError("this process has no connection to Redis")
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return pipeline.execute()
