"""Queue statistics: what waits, runs or is delayed in each queue, workers, dead letters. Nothing here changes them."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load
from imagefleet.store.worker_registry import Worker

_COUNT_WAITING: Final = load("count_waiting")
_COUNT_DUE: Final = load("count_due")
_COUNT_RUNNING: Final = load("count_running")
_COUNT_DELAYED: Final = load("count_delayed")

#: Entries that are looked at with their messages, so that Redis is not kept busy.
_MOST_COUNTED: Final = 10_000
_MOST_DUE: Final = 1_000
#: Delayed messages that fall due within this number of seconds are wanted now: a worker takes as long to start.
SOON_S: Final = 120.0


class Waiting(NamedTuple):
    """The messages that wait in one queue."""

    #: Messages in each list of the queue, the most urgent first.
    levels: tuple[int, ...]
    #: Age of the oldest in seconds; None if nothing waits, or nothing that a client has submitted.
    oldest_s: float | None

    @property
    def depth(self) -> int:
        """Messages in all lists of the queue."""
        return sum(self.levels)


class Counts(NamedTuple):
    """The messages of one queue that need a worker now or soon."""

    waiting: Waiting
    #: Messages that workers hold.
    running: int
    #: Delayed messages that fall due soon.
    due: int

    @property
    def demand(self) -> int:
        """All of them."""
        return self.waiting.depth + self.running + self.due


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Queue(_Seen):
    """One queue at one moment."""

    name: str
    """`imagefleet.<model>`, or `imagefleet.webhooks`."""
    waiting: int
    """Messages in it; a canceled job counts until a worker drops its message."""
    by_priority: dict[str, int]
    """The same by priority, the most urgent first: 8-9, 5-7, 3-4, 1-2 and 0."""
    oldest_s: float | None
    """Seconds that the oldest has waited; None if nothing waits, or no client has submitted it."""
    delayed: int = 0
    """Messages that wait for a time: the next attempt, or the eta that a Celery app has set."""
    due: int = 0
    """Those of them that fall due within two minutes."""
    running: int
    """Messages that workers hold: jobs that run; in the queue of webhooks, deliveries."""
    workers: int
    """Workers that consume it and send heartbeats."""

    @computed_field
    @property
    def demand(self) -> int:
        """Messages that need a worker now or soon: `waiting`, `due` and `running`."""
        return self.waiting + self.due + self.running


class Overview(_Seen):
    """The fleet at one moment."""

    at: AwareDatetime
    """By the clock of Redis."""
    queues: tuple[Queue, ...]
    workers: tuple[Worker, ...]
    delayed: int
    """Messages that wait for a time, in all queues."""
    dead_letters: int
    """Messages that are not run any more."""

    @property
    def images_per_s(self) -> float:
        """Of all workers, in the last minute."""
        return sum(worker.images_per_s for worker in self.workers)


def waiting(keys: Keys, queue: str) -> Command:
    """Count the messages of *queue*; `read_waiting` parses the reply. The cost does not depend on their number."""
    return _COUNT_WAITING(lists=keys.lists(queue), records=keys.job(""))


def read_waiting(reply: Any) -> Waiting:
    """The parsed reply to `waiting`."""
    levels, age = reply
    return Waiting(tuple(map(int, levels)), float(age) if age else None)


def dead_letters(keys: Keys) -> Command:
    """Replies the number of dead letters."""
    return ("HLEN", keys.dead)


def running(keys: Keys) -> Command:
    """Count the messages that workers hold; `read_running` parses the reply. The cost grows with their number."""
    return _COUNT_RUNNING(origins=keys.origins)


def read_running(keys: Keys, reply: Any) -> dict[str, int]:
    """The number of messages of each queue that workers hold."""
    return _by_queue(keys, reply)


def delayed(keys: Keys) -> Command:
    """Count the messages that wait for a time; `read_delayed` parses the reply. The cost grows with their number."""
    return _COUNT_DELAYED(delayed=keys.delayed, most=_MOST_COUNTED)


def due(keys: Keys, *, soon_s: float = SOON_S) -> Command:
    """Count the delayed messages that fall due within *soon_s*; `read_delayed` parses the reply.

    Of the first 1,000: more are due soon only if many deliveries fail. A job behind them counts once it is in its list.
    """
    return _COUNT_DUE(delayed=keys.delayed, soon_s=soon_s, most=_MOST_DUE)


def read_delayed(keys: Keys, reply: Any) -> tuple[int, dict[str, int]]:
    """The number of all messages that wait for a time, and of those in each queue that were asked for."""
    total, counts = reply
    return int(total), _by_queue(keys, counts)


def counts(keys: Keys, queues: Sequence[str], *, soon_s: float = SOON_S) -> list[Command]:
    """Count what needs a worker in *queues*, cheaply enough to be asked often; `read_counts` parses the replies."""
    return [running(keys), due(keys, soon_s=soon_s), *(waiting(keys, queue) for queue in queues)]


def read_counts(keys: Keys, queues: Sequence[str], replies: Sequence[Any]) -> tuple[int, dict[str, Counts]]:
    """The number of all delayed messages, and the counts of each of *queues*, by the replies to `counts`."""
    held, (total, soon) = read_running(keys, replies[0]), read_delayed(keys, replies[1])
    return total, {
        queue: Counts(read_waiting(reply), held.get(queue, 0), soon.get(queue, 0))
        for queue, reply in zip(queues, replies[2:], strict=True)
    }


def _by_queue(keys: Keys, pairs: Sequence[Any]) -> dict[str, int]:
    names = (name.removeprefix(keys.prefix) for name in pairs[::2])
    return dict(zip(names, map(int, pairs[1::2]), strict=True))
