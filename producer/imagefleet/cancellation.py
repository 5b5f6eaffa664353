"""Cancellation: of one job or of a whole group, without a socket, as in `operations`."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from imagefleet import endings
from imagefleet.operations import Operation, not_found
from imagefleet.queues import Keys, check_job_id, check_label
from imagefleet.results import JobStatus
from imagefleet.settings import ClientSettings

#: Jobs of a group that are read, and then canceled, in one round trip.
_AT_ONCE: Final = 500


class GroupCanceled(NamedTuple):
    """What became of the jobs of a group."""

    #: Jobs that had not begun, and have ended now.
    canceled: int
    #: Running jobs, whose workers have been asked to stop.
    stopping: int


def cancel(settings: ClientSettings, job_id: str) -> Operation[JobStatus]:
    """End a queued job, or ask the worker of a running one to stop; return the status that the job has now.

    Raises:
        JobNotFound: where there is no record.
    """
    [reply] = yield from _cancel(settings.keys, [check_job_id(job_id)])
    if reply == "unknown":
        raise not_found([job_id])
    return JobStatus(reply)


def cancel_group(settings: ClientSettings, group: str) -> Operation[GroupCanceled]:
    """Cancel every job of *group*, a few hundred at a time, so that Redis serves others in between.

    Raises:
        InvalidJob: for what cannot be the name of a group.
    """
    key, cursor = settings.keys.group(check_label("group", group)), "0"
    seen: dict[str, str] = {}
    while True:
        [[cursor, ids]] = yield [("SSCAN", key, cursor, "COUNT", _AT_ONCE)]
        fresh = [job_id for job_id in dict.fromkeys(ids) if job_id not in seen]  # a scan may name a member twice
        if fresh:
            replies = yield from _cancel(settings.keys, fresh)
            seen.update(zip(fresh, replies, strict=True))
        if int(cursor) == 0:
            break
    ends = list(seen.values())
    return GroupCanceled(canceled=ends.count("canceled"), stopping=ends.count("running"))


def _cancel(keys: Keys, ids: Sequence[str]) -> Operation[list[str]]:
    known = yield [endings.read(keys, job_id) for job_id in ids]
    replies: list[str] = yield [endings.cancel(keys, *pair) for pair in zip(ids, known, strict=True)]
    return replies
