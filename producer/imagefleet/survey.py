"""The survey: what a client asks to see the whole fleet, without a socket, as `operations` does it."""

from collections.abc import Iterable

from imagefleet import overview, workers
from imagefleet.operations import Operation
from imagefleet.overview import Overview, Queue, Waiting
from imagefleet.queues import PRIORITY_SPANS, WEBHOOK_QUEUE, Keys
from imagefleet.workers import Worker, WorkerState


def survey(keys: Keys) -> Operation[Overview]:
    """Look at all queues and workers in two round trips; the cost does not grow with what waits.

    A queue in which nothing waits, and that nobody consumes, is left out.
    """
    said, names, delayed, dead = yield [
        workers.read(keys),
        workers.queue_names(keys),
        overview.delayed(keys),
        overview.dead_letters(keys),
    ]
    at, seen = workers.read_all(said)
    queues = sorted({*names, WEBHOOK_QUEUE})
    replies = yield [overview.waiting(keys, name) for name in queues]
    looked = [_queue(name, overview.read_waiting(reply), seen) for name, reply in zip(queues, replies, strict=True)]
    shown = tuple(queue for queue in looked if queue.waiting or queue.workers)
    return Overview(at=at, queues=shown, workers=tuple(seen), delayed=delayed, dead_letters=dead)


def _queue(name: str, waiting: Waiting, seen: Iterable[Worker]) -> Queue:
    alive = [each for each in seen if name in each.queues and each.state is not WorkerState.SILENT]
    return Queue(
        name=name,
        waiting=waiting.depth,
        by_priority=dict(zip(PRIORITY_SPANS, waiting.levels, strict=True)),
        oldest_s=waiting.oldest_s,
        running=sum(each.running for each in alive),
        workers=len(alive),
    )
