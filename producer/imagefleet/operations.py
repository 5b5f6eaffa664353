"""What a client does, without a socket: each operation yields commands for one round trip and is sent their replies.

`Client` and `AsyncClient` drive the same generators, so that only the waiting for bytes differs between them. Every
round trip may be repeated, when a connection breaks or Redis has forgotten a script: a submit is known by its job ids,
and no other command here changes anything twice.
"""

from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from imagefleet import endings, records, submissions
from imagefleet.errors import JobNotFound, QueueFull
from imagefleet.messages import Links
from imagefleet.queues import Keys, check_job_id, queue_for
from imagefleet.records import Command
from imagefleet.settings import ClientSettings
from imagefleet.snapshots import FIELDS, Snapshot
from imagefleet.submissions import Batch, JobLike

T = TypeVar("T")
#: Yields the commands of one round trip, is sent their replies, returns its result.
Operation = Generator[list[Command], list[Any], T]

#: More would have to be sent within one socket timeout.
_BATCHES_PER_ROUND_TRIP: Final = 10


def submit(
    settings: ClientSettings,
    jobs: Iterable[JobLike],
    *,
    ids: Sequence[str] | None,
    link: Links,
    link_error: Links,
) -> Operation[list[str]]:
    """Queue *jobs* and return their ids in the order given.

    Raises:
        InvalidJob: and then nothing was queued.
        QueueFull: with the ids that were queued before the queue was full.
    """
    checked = submissions.check(jobs, settings=settings)
    named = submissions.name(checked, ids)
    batches = submissions.pack(checked, named, link=link, link_error=link_error)
    accepted: list[str] = []
    while round_trip := list(islice(batches, _BATCHES_PER_ROUND_TRIP)):
        replies = yield [_submit(settings, batch) for batch in round_trip]
        queued = [reply[0] == "queued" for reply in replies]
        accepted += [job.job_id for batch, done in zip(round_trip, queued, strict=True) if done for job in batch.jobs]
        if not all(queued):
            raise _full(
                settings, round_trip[queued.index(False)], waiting=replies[queued.index(False)][1], accepted=accepted
            )
    return named


def look(settings: ClientSettings, ids: Sequence[str]) -> Operation[list[Snapshot]]:
    """Read the records of *ids* in one round trip; those of queued jobs past their deadlines are ended on the way.

    Raises:
        JobNotFound: naming the ids that have none.
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
    """How many messages wait in the queue of *model*, over all priorities; canceled jobs count until they are met."""
    queue = queue_for(model)
    lengths = [("LLEN", key) for key in keys.lists(queue)]
    replies = yield [*lengths, *(("ZCARD", key) for key in keys.lanes(queue))]
    return sum(replies)


def not_found(ids: Sequence[str]) -> JobNotFound:
    """The error for ids without a record."""
    first, more = ids[0], len(ids) - 1
    which = f"{first} and {more} more" if more else first
    return JobNotFound(f"no record of job {which}: never submitted, not yet claimed, or expired")


def _read(keys: Keys, ids: Sequence[str]) -> Operation[list[Snapshot | None]]:
    replies = yield [records.read(keys, check_job_id(job_id), *FIELDS) for job_id in ids]
    return [Snapshot.of(job_id, values) for job_id, values in zip(ids, replies, strict=True)]


def _expire(keys: Keys, ids: Sequence[str]) -> Operation[None]:
    known = yield [endings.read(keys, job_id) for job_id in ids]
    yield [endings.expire(keys, *pair) for pair in zip(ids, known, strict=True)]


def _submit(settings: ClientSettings, batch: Batch) -> Command:
    queue = queue_for(batch.model)
    return records.submit(
        settings.keys, queue=queue, model=batch.model, jobs=batch.jobs, max_queued=settings.max_queued
    )


def _full(settings: ClientSettings, batch: Batch, *, waiting: int, accepted: Sequence[str]) -> QueueFull:
    error = QueueFull(
        f"{waiting:,} jobs wait in {queue_for(batch.model)} and {settings.max_queued:,} may, which leaves no room "
        f"for {len(batch.jobs):,} more; submit again later"
    )
    error.accepted = tuple(accepted)
    return error
