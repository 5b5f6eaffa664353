"""The outlook of a job: its position in the queue, and when its images should be there.

The position is computed, not searched for. A job's record keeps the number that its message had when it was pushed; the
length of the list now, less the messages that were pushed later, is the number of messages before it. Messages of
tenants are in a sorted set by their tokens. The cost does not grow with the length of a list (with the logarithm of a
sorted set). The speed is what the workers of the model report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from imagefleet.client.operations import Operation, not_found
from imagefleet.client.serving import reason_to_wait
from imagefleet.contract.queues import check_job_id, queue_for
from imagefleet.contract.results import JobStatus
from imagefleet.store import records, worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load
from imagefleet.store.worker_registry import Worker, WorkerState

_FIELDS: Final = ("status", "model", "attempts", "place", "progress", "ends_at")

_COUNT_AHEAD: Final = load("count_ahead")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What to expect of a job at this moment."""

    id: str
    status: JobStatus
    #: Of a queued job, counted from 1: the job is taken at this position or earlier, over all priorities of its model,
    #: unless a more urgent job or a new tenant arrives. None if it is not known: see docs/progress.md.
    position: int | None
    #: Of all workers of its model, in the last minute; None if there is no worker.
    images_per_s: float | None
    #: Seconds until its images should be there; of a running job, until its last step. None if it is not known.
    eta_s: float | None
    #: Why a queued job waits although no worker takes it: none serves its model, or none does now. None otherwise.
    reason: str | None = None


class QueuePlace(NamedTuple):
    """The position at which a message was queued."""

    #: The number of the list in its queue, counted from 1.
    level: int
    #: Of a tenant's message: its token. Otherwise: the number of messages pushed to the list until then, with itself.
    number: int
    #: Empty without one.
    tenant: str

    @classmethod
    def parse(cls, text: str | None) -> "QueuePlace | None":
        """Read the field of a record; None if an older client, or a worker, made the record."""
        if not text:
            return None
        level, number, *tenant = text.split("/")
        return cls(int(level), int(number), *(tenant or [""]))


def outlook(keys: Keys, job_id: str) -> Operation[Outlook]:
    """Compute the outlook of one job, in at most two round trips; the cost grows with the workers, not with the queue.

    Raises:
        JobNotFound: if there is no record of the job.
    """
    fields, registered, served = yield [
        records.read(keys, check_job_id(job_id), *_FIELDS),
        worker_registry.read(keys),
        worker_registry.served(keys),
    ]
    status, model, attempts, place, progress, ends_at = fields
    if status is None:
        raise not_found([job_id])
    at, seen = worker_registry.parse(registered)
    queue = queue_for(model or "default")
    workers = working(seen, queue)
    images_per_s = sum(each.images_per_s for each in workers) if workers else None
    job, position, eta_s = JobStatus(status), None, None
    if job is JobStatus.RUNNING and progress and ends_at:
        eta_s = left_s(float(ends_at), at)
    # The number of a job that waits for another attempt is out of date.
    if job is JobStatus.QUEUED and not int(attempts or 0) and (queued := QueuePlace.parse(place)):
        [counts] = yield [_line(keys, queue, queued)]
        position = position_of(counts)
        eta_s = wait_s(position, workers)
    reason = reason_to_wait(queue, served, seen) if job is JobStatus.QUEUED else None
    return Outlook(job_id, job, position, images_per_s, eta_s, reason)


def working(seen: Iterable[Worker], queue: str) -> list[Worker]:
    """Those of *seen* that take jobs from *queue*."""
    takes = (WorkerState.READY, WorkerState.BUSY)
    return [worker for worker in seen if queue in worker.queues and worker.state in takes]


def position_of(counts: Sequence[Any]) -> int:
    """The position, from 1, by *counts*: of more urgent messages, of the list, of its lanes, and ahead in the own lane.

    Lanes take turns: for each message ahead in the job's own lane, every other lane may have one, too.
    """
    urgent, in_list, turns, first = map(int, counts)
    return urgent + max(1, min(in_list, max(1, first) * max(1, turns)))


def wait_s(position: int, workers: Sequence[Worker]) -> float | None:
    """Seconds until a job at *position* should have ended; None if no worker has a measured speed.

    By then all jobs before it have ended, running ones included. A job takes the time of one worker, even if several
    are idle.
    """
    jobs_per_s = sum(worker.jobs_per_s or 0.0 for worker in workers)
    if jobs_per_s <= 0:
        return None
    running = sum(worker.running for worker in workers)
    return round(max(position + running, len(workers)) / jobs_per_s, 3)


def left_s(ends_at: float, now: datetime) -> float:
    """Seconds until *ends_at*, in seconds since 1970; 0 if it has passed."""
    return round(max(0.0, ends_at - now.timestamp()), 3)


def _line(keys: Keys, queue: str, place: QueuePlace) -> Command:
    *urgent, own = keys.lists(queue)[: place.level]
    return _COUNT_AHEAD(list=own, urgent=urgent, number=place.number, tenant=place.tenant)
