"""The operations of a client, without I/O. Each yields the commands of a round trip and is sent their replies.

`Client` and `AsyncClient` drive the same generators; they differ only in how they wait for bytes. A driver may repeat a
round trip if a connection breaks or Redis has lost a script. That is safe: a repeated submit has the same job ids, and
no other command here has an effect if it is repeated.
"""

from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from imagefleet.client import submissions
from imagefleet.client.receivers import check_receivers
from imagefleet.client.serving import require_workers
from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import FIELDS, Snapshot
from imagefleet.client.submissions import Batch, JobLike
from imagefleet.contract.messages import Links
from imagefleet.contract.queues import check_job_id, queue_for
from imagefleet.errors import IdTaken, JobNotFound, QueueFull
from imagefleet.store import endings, records
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command

T = TypeVar("T")
#: Yields the commands of one round trip, is sent their replies, returns its result.
Operation = Generator[list[Command], list[Any], T]

#: Everything of a round trip must be sent within one socket timeout.
_BATCHES_PER_ROUND_TRIP: Final = 10


def submit(
    settings: ClientSettings,
    jobs: Iterable[JobLike],
    *,
    ids: Sequence[str] | None,
    link: Links,
    link_error: Links,
    require_worker: bool = False,
) -> Operation[list[str]]:
    """Queue *jobs* and return their ids in the order given.

    Raises:
        InvalidJob: naming every bad field; then nothing was queued.
        QueueFull: its `accepted` has the ids that were queued before the queue was full.
        IdTaken: if another job has one of the ids.
        NoWorker: if *require_worker*, and no worker serves one of the models or has served it.
    """
    checked = submissions.check(jobs, settings=settings)
    yield from check_receivers(settings.keys, checked)
    if require_worker:
        yield from require_workers(settings.keys, [job.model for job in checked])
    named = submissions.assign_ids(checked, ids)
    batches = submissions.batches(checked, named, link=link, link_error=link_error)
    accepted: list[str] = []
    while round_trip := list(islice(batches, _BATCHES_PER_ROUND_TRIP)):
        replies = yield [_submit(settings, batch) for batch in round_trip]
        queued = [reply[0] == "queued" for reply in replies]
        accepted += [job.job_id for batch, done in zip(round_trip, queued, strict=True) if done for job in batch.jobs]
        if taken := [job_id for reply in replies if reply[0] == "taken" for job_id in reply[2:]]:
            raise _taken(taken, accepted=accepted)
        if not all(queued):
            raise _full(
                settings, round_trip[queued.index(False)], waiting=replies[queued.index(False)][1], accepted=accepted
            )
    return named


def read_snapshots(settings: ClientSettings, ids: Sequence[str]) -> Operation[list[Snapshot]]:
    """Read the records of *ids*, in one round trip; queued jobs past their deadlines are ended first.

    Raises:
        JobNotFound: naming the ids without a record.
    """
    snapshots = yield from _read(settings.keys, ids)
    if overdue := [each.id for each in snapshots if each and each.is_overdue]:
        yield from _expire(settings.keys, overdue)
        snapshots = yield from _read(settings.keys, ids)
    missing = [job_id for job_id, snapshot in zip(ids, snapshots, strict=True) if snapshot is None]
    if missing:
        raise not_found(missing)
    return [snapshot for snapshot in snapshots if snapshot is not None]


def queue_length(keys: Keys, model: str) -> Operation[int]:
    """The number of messages in the queue of *model*, over all priorities.

    Canceled jobs count until a worker meets them.
    """
    queue = queue_for(model)
    lengths = [("LLEN", key) for key in keys.lists(queue)]
    replies = yield [*lengths, *(("ZCARD", key) for key in keys.lanes(queue))]
    return sum(replies)


def single(command: Command) -> Operation[Any]:
    """The reply to one command."""
    [reply] = yield [command]
    return reply


def not_found(ids: Sequence[str]) -> JobNotFound:
    """The error for ids without a record."""
    first, more = ids[0], len(ids) - 1
    which = f"{first} and {more} more" if more else first
    return JobNotFound(f"no record of job {which}: never submitted, not yet claimed, or expired; check the id")


def _read(keys: Keys, ids: Sequence[str]) -> Operation[list[Snapshot | None]]:
    replies = yield [records.read(keys, check_job_id(job_id), *FIELDS) for job_id in ids]
    return [Snapshot.from_record(job_id, values) for job_id, values in zip(ids, replies, strict=True)]


def _expire(keys: Keys, ids: Sequence[str]) -> Operation[None]:
    known = yield [endings.read(keys, job_id) for job_id in ids]
    yield [endings.expire(keys, *pair) for pair in zip(ids, known, strict=True)]


def _submit(settings: ClientSettings, batch: Batch) -> Command:
    queue = queue_for(batch.model)
    return records.submit(
        settings.keys, queue=queue, model=batch.model, jobs=batch.jobs, max_queued=settings.max_queued
    )


def _taken(ids: Sequence[str], *, accepted: Sequence[str]) -> IdTaken:
    first, more = ids[0], len(ids) - 1
    which = f"{first} and {more} more" if more else first
    error = IdTaken(f"another job has the id {which}; give each job an id of its own, or send the same job again")
    error.accepted = tuple(accepted)
    return error


def _full(settings: ClientSettings, batch: Batch, *, waiting: int, accepted: Sequence[str]) -> QueueFull:
    error = QueueFull(
        f"{waiting:,} jobs wait in {queue_for(batch.model)} and {settings.max_queued:,} may, which leaves no room "
        f"for {len(batch.jobs):,} more; submit again later"
    )
    error.accepted = tuple(accepted)
    return error
