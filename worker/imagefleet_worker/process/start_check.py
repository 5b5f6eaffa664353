"""The start check: whether a worker can do what Celery's command line asks of it, before anything is loaded."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imagefleet.contract.queues import WEBHOOK_QUEUE, queue_for
from imagefleet.errors import SettingsInvalid
from imagefleet.store.redis_url import mask_passwords
from imagefleet_worker.supervision.requirements import INSTALL_WORKER

_FLEET: Final = queue_for("")
_POOLS: Final = ("threads", "solo")
#: What a worker without child processes cannot do, and what to type instead.
_REFUSED: Final = {
    "autoscale": "it changes the number of threads, and no device is faster with more of them: type -c N for the most "
    "jobs that are held at once, and add workers for more images",
    "max_tasks_per_child": "it is for child processes, and this worker has none: leave it out",
    "max_memory_per_child": "it is for child processes, and this worker has none: leave it out; the limit of a "
    "container ends a worker that takes too much",
    "pool_start_method": "it is for child processes, and this worker has none: leave it out",
}


@dataclass(frozen=True, slots=True)
class ServedQueues:
    """The queues that a worker with the model *model* may consume."""

    model: str
    #: Whether it knows tasks besides ours, from `-I`.
    has_own_tasks: bool = False

    def problem(self, queue: str) -> str | None:
        """Why it cannot consume *queue*, and what to type instead; None if it can."""
        own = queue_for(self.model)
        if queue in (own, WEBHOOK_QUEUE):
            return None
        if queue.startswith(_FLEET):
            other = queue.removeprefix(_FLEET)
            return (
                f"the model of this worker is {self.model!r}, and messages of {queue} are for another one: "
                f"type -Q {own}, or set IMAGEFLEET_MODEL_ALIAS={other} and its model"
            )
        if not self.has_own_tasks:
            return (
                f"no task of this worker is for {queue}: type -Q {own} for images, -Q {WEBHOOK_QUEUE} for webhooks, "
                "or -I with a module of tasks"
            )
        return None


class TimeLimits(NamedTuple):
    """How long an attempt at a job may take if neither its message nor `control time_limit` says so, in seconds."""

    hard: float | None = None
    soft: float | None = None


NO_LIMITS: Final = TimeLimits()


@dataclass(frozen=True, slots=True)
class CeleryStart:
    """What Celery was asked to start."""

    #: As `-P` names it.
    pool: str
    queues: tuple[str, ...]
    broker_url: str
    #: Options with a value, by their names in Celery.
    options: frozenset[str] = field(default_factory=frozenset[str])
    time_limits: TimeLimits = NO_LIMITS


def check_start(
    start: CeleryStart, *, served: ServedQueues, broker_url: str, missing_packages: Sequence[str] = ()
) -> None:
    """Return if a worker of this package can be what *start* says.

    Args:
        start: What Celery was asked to start.
        served: The queues that it may consume.
        broker_url: The broker of the settings.
        missing_packages: Packages that a worker needs to make images and that are not installed.

    Raises:
        SettingsInvalid: With a sentence for each option that it cannot honor, and what to type instead.
    """
    problems = [*_problems(start, served=served, broker_url=broker_url)]
    if missing_packages and queue_for(served.model) in start.queues:
        names = ", ".join(missing_packages)
        problems.append(f"images need {names}: {INSTALL_WORKER}, which has -Q {WEBHOOK_QUEUE}")
    if problems:
        raise SettingsInvalid("; ".join(problems))


def _problems(start: CeleryStart, *, served: ServedQueues, broker_url: str) -> Iterator[str]:
    if start.pool not in _POOLS:
        yield (
            f"-P {start.pool}: one process owns the device and holds the leases of its jobs, so the pool is threads or "
            "solo: leave -P out, and type `imagefleet-worker --devices all` for a process for each device"
        )
    yield from (f"--{name.replace('_', '-')}: {why}" for name, why in _REFUSED.items() if name in start.options)
    yield from _problems_of_limits(start, served=served)
    if not start.queues:
        yield f"-X leaves no queue to consume: type -Q {queue_for(served.model)} or -Q {WEBHOOK_QUEUE}"
    yield from (f"-Q {queue}: {why}" for queue in start.queues if (why := served.problem(queue)))
    if start.broker_url != broker_url:
        yield (
            f"-b {mask_passwords(start.broker_url)}: this worker claims messages at IMAGEFLEET_REDIS_URL, which is "
            f"{mask_passwords(broker_url)}: set that variable, and leave out -b and CELERY_BROKER_URL"
        )


def _problems_of_limits(start: CeleryStart, *, served: ServedQueues) -> Iterator[str]:
    for option, limit in zip(("--time-limit", "--soft-time-limit"), start.time_limits, strict=True):
        if not limit:
            continue
        if not 0 < limit < math.inf:
            yield f"{option} {limit:g}: it is a number of seconds: type one above 0"
        elif queue_for(served.model) not in start.queues:
            yield f"{option}: only jobs keep it, and this worker makes no images: leave it out"
        elif served.has_own_tasks:
            yield (
                f"{option}: only jobs keep it; no thread that runs a task of -I can be ended from outside: "
                "start a worker for those tasks beside this one, without the option"
            )
