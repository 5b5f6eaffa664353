"""Attempt records: the start and the end of an attempt in the job's record, each one script.

As in `imagefleet.store.records`, each function returns a command. A job that a client has queued starts in the script
that claims its message. Its claim ends in the script that records its end, unless Celery must be told of the end. So
most jobs need two scripts, and one for each report of progress. `start` is for the other jobs: those that no client has
queued, and those that somebody has canceled.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from imagefleet.store.keys import Keys
from imagefleet.store.records import PENDING_TTL_S, Claim, Outgoing
from imagefleet.store.scripts import Command, load
from imagefleet_worker.queue.claims import LUA, ends_of_claims

_START: Final = load("start", folder=LUA)
_FINISH: Final = load("finish", folder=LUA)


def start(keys: Keys, job_id: str, *, claim: Claim, worker: str, model: str, fingerprint: str = "") -> Command:
    """Mark a claimed job as running.

    Replies `[started|canceled, attempts, seconds queued]`, `[ended, status]`, `[taken]` where the record is another
    job's or, where the lease is gone, `[lost]`.
    """
    return _START(
        record=keys.job(job_id),
        owners=keys.owners,
        token=claim.token,
        owner=claim.owner,
        worker=worker,
        model=model,
        ttl_s=PENDING_TTL_S,
        fingerprint=fingerprint,
    )


def finish(
    keys: Keys,
    job_id: str,
    *,
    claim: Claim,
    status: str,
    result: str,
    event: str,
    ttl_s: int,
    fingerprint: str = "",
    ends_claim: bool = False,
    outgoing: Iterable[Outgoing] = (),
) -> Command:
    """Record how a job ended, tell who listens and send *outgoing*, all in one step; with *ends_claim*, its claim ends.

    Replies `recorded`, `lost` where the lease is gone, `taken` where the record is another job's, or the status with
    which the job had ended already; only with `recorded` has the claim ended. Sent again because a reply was lost, it
    replies with the status.
    """
    return _FINISH(
        **ends_of_claims(keys),
        record=keys.job(job_id),
        deadlines=keys.deadlines,
        preview=keys.preview(job_id),
        token=claim.token,
        owner=claim.owner,
        job_id=job_id,
        groups=keys.group(""),
        status=status,
        result=result,
        ttl_s=ttl_s,
        channel=keys.events(job_id),
        event=event,
        fingerprint=fingerprint,
        ends_claim=int(ends_claim and bool(claim.token)),
        outgoing=chain.from_iterable(outgoing),
    )
