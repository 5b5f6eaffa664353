"""The operation that reads all queues and workers of the fleet. Without I/O, like `operations`."""

from collections.abc import Iterable

from imagefleet.client.operations import Operation
from imagefleet.contract.queues import PRIORITY_SPANS, WEBHOOK_QUEUE
from imagefleet.store import queue_stats, worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.queue_stats import Counts, Overview, Queue
from imagefleet.store.worker_registry import Worker, WorkerState


def overview(keys: Keys) -> Operation[Overview]:
    """Read all queues and workers, in two round trips; the cost does not grow with the length of the queues.

    A queue in which nothing waits, runs or is delayed, and that nobody consumes, is left out.
    """
    registered, names, dead = yield [
        worker_registry.read(keys),
        worker_registry.queue_names(keys),
        queue_stats.dead_letters(keys),
    ]
    at, seen = worker_registry.parse(registered)
    queues = sorted({*names, WEBHOOK_QUEUE})
    later, *replies = yield [queue_stats.delayed(keys), *queue_stats.counts(keys, queues)]
    _, delayed = queue_stats.read_delayed(keys, later)
    total, found = queue_stats.read_counts(keys, queues, replies)
    looked = [_queue(name, counts, seen, delayed=delayed.get(name, 0)) for name, counts in found.items()]
    shown = tuple(queue for queue in looked if queue.demand or queue.workers or queue.delayed)
    return Overview(at=at, queues=shown, workers=tuple(seen), delayed=total, dead_letters=dead)


def _queue(name: str, counts: Counts, seen: Iterable[Worker], *, delayed: int) -> Queue:
    alive = [each for each in seen if name in each.queues and each.state is not WorkerState.SILENT]
    return Queue(
        name=name,
        waiting=counts.waiting.depth,
        by_priority=dict(zip(PRIORITY_SPANS, counts.waiting.levels, strict=True)),
        oldest_s=counts.waiting.oldest_s,
        delayed=delayed,
        due=counts.due,
        running=counts.running,
        workers=len(alive),
    )
