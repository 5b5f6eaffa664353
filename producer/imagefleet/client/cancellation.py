"""Operations that cancel one job, or all jobs of a group. Without I/O, like `operations`."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from imagefleet.client.operations import Operation, not_found
from imagefleet.client.settings import ClientSettings
from imagefleet.contract.queues import check_job_id, check_label
from imagefleet.contract.results import JobStatus
from imagefleet.store import endings
from imagefleet.store.keys import Keys

#: Jobs of a group that are canceled in one round trip.
_AT_ONCE: Final = 500


class GroupCanceled(NamedTuple):
    """The numbers of jobs of a group that a cancel reached."""

    #: Jobs that were queued, and are canceled now.
    canceled: int
    #: Running jobs, whose workers were asked to stop them.
    stopping: int


def cancel(settings: ClientSettings, job_id: str) -> Operation[JobStatus]:
    """Cancel a queued job, or ask the worker of a running one to stop it; return the status that the job has now.

    Raises:
        JobNotFound: if there is no record of the job.
    """
    [reply] = yield from _cancel(settings.keys, [check_job_id(job_id)])
    if reply == "unknown":
        raise not_found([job_id])
    return JobStatus(reply)


def cancel_group(settings: ClientSettings, group: str) -> Operation[GroupCanceled]:
    """Cancel every job of *group*, a few hundred at a time, so that Redis serves others in between.

    Raises:
        InvalidJob: if *group* cannot be the name of a group.
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
