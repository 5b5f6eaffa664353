"""The record of a job: the one place in Redis that knows its status, and every change that status can make.

Each function returns a command, a tuple for `redis.Redis.execute_command` (or its asyncio twin), so that the client,
its asyncio twin and the worker share one set of transitions. All are single scripts: a record never holds half a
change, and of two ends that race for a job exactly one is recorded. How a worker begins and ends a run is in
`imagefleet_worker.queue.attempt_records`.

Fields: status, model, fingerprint, queued_at, started_at, ended_at (Redis time, seconds), worker, attempts, progress
(`done/total`), cancel (`1` if it was canceled while it ran), webhook and metadata (JSON, for an end before any worker
saw the job), group, deadline (seconds), result (JSON), place (`level/number` or `level/token/tenant`, as queued),
ends_at (Redis time at which its steps should be done), message (of a job that a Celery app has sent with an eta or a
countdown, until it begins), failures, failed_attempt and failing_since (how many attempts failed and were retried, the
number of the last one, and when the first began), made (`1` if its images waited for S3), renders_repeated (how often
it was rendered after that), webhooks (JSON, see `webhook_records`).
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

#: Seconds that the record of a job which does not end is kept: longer than any reasonable wait.
PENDING_TTL_S: Final = 30 * 86_400
_PREVIEW_TTL_S: Final = 10

_SUBMIT: Final = load("submit")
_CANCEL: Final = load("cancel")
_JOIN_GROUP: Final = load("join_group")
_NOTE_PROGRESS: Final = load("note_progress")


class Submission(NamedTuple):
    """One job ready to be queued."""

    job_id: str
    #: Which of the queue's lists, counted from 1.
    level: int
    message: str
    #: JSON, or empty.
    webhook: str
    #: JSON, or empty.
    metadata: str
    #: Or empty.
    group: str
    #: Seconds since 1970, or empty.
    deadline: str
    #: The message that delivers its `job.queued`, or empty.
    delivery: str
    #: Or empty.
    tenant: str
    fingerprint: str


class Outgoing(NamedTuple):
    """A message that leaves in the same step as a change of status."""

    list_key: str
    message: str


class Claim(NamedTuple):
    """A worker's proof that it still holds a message; both are empty if there are no leases."""

    token: str
    owner: str


def submit(keys: Keys, *, queue: str, model: str, jobs: Sequence[Submission], max_queued: int) -> Command:
    """Queue *jobs* that have no record yet, all or none.

    Replies `[queued|full, jobs waiting before]`; they are counted only if *max_queued* is not 0. If another job has the
    id of one of them: `[taken, jobs waiting before, ids that are taken...]`.
    """
    return _SUBMIT(
        deadlines=keys.deadlines,
        deliveries=keys.deliveries,
        queues=keys.queues,
        lists=keys.lists(queue),
        max_queued=max_queued,
        ttl_s=PENDING_TTL_S,
        records=keys.job(""),
        groups=keys.group(""),
        model=model,
        queue=queue,
        jobs=chain.from_iterable(jobs),
    )


def cancel(keys: Keys, job_id: str, *, result: str, event: str, outgoing: Iterable[Outgoing] = ()) -> Command:
    """End a queued job with *result*, or ask the worker of a running one to stop.

    Replies `canceled`, `running` (asked to stop), the status with which it had ended already, or `unknown`.
    The cost does not depend on the length of the queue: the message stays where it is, and a claim drops it.
    """
    return _CANCEL(
        record=keys.job(job_id),
        deadlines=keys.deadlines,
        job_id=job_id,
        groups=keys.group(""),
        result=result,
        ttl_s=PENDING_TTL_S,
        channel=keys.events(job_id),
        event=event,
        control=keys.control,
        outgoing=chain.from_iterable(outgoing),
    )


def read(keys: Keys, job_id: str, *fields: str) -> Command:
    """The values of *fields*, `None` for each that is not set."""
    return ("HMGET", keys.job(job_id), *fields)


def join_group(keys: Keys, job_id: str, *, group: str) -> Command:
    """Put a running job into its *group*, if no client has. Replies 1, or 0 if it is in a group or has ended."""
    return _JOIN_GROUP(
        record=keys.job(job_id), members=keys.group(group), job_id=job_id, group=group, ttl_s=PENDING_TTL_S
    )


def progress(
    keys: Keys, job_id: str, *, done: int, total: int, event: str, preview: str = "", left_s: float | None = None
) -> Command:
    """Record the progress and the *preview* (JSON) of a running job, and publish *event*.

    *left_s* is the number of seconds that the remaining steps should take; the record keeps it as a time of Redis's
    clock.

    Replies 1 if somebody has canceled the job, else 0.
    """
    return _NOTE_PROGRESS(
        record=keys.job(job_id),
        preview=keys.preview(job_id),
        progress=f"{done}/{total}",
        channel=keys.events(job_id),
        event=event,
        image=preview,
        image_ttl_s=_PREVIEW_TTL_S,
        left_s="" if left_s is None else left_s,
    )
