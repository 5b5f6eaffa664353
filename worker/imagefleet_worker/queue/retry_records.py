"""Retries: how often an attempt at a job has failed, and since when; kept in its record.

Attempts that did not fail do not count: if a drain gives a job back, that is not the job's fault.
"""

from typing import Final

from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet.store.scripts import Command, load
from imagefleet_worker.queue.claims import LUA

_COUNT_FAILURE: Final = load("count_failure", folder=LUA)


def count_failure(keys: Keys, job_id: str, *, claim: Claim, attempt: int) -> Command:
    """Count the failure of the running *attempt* of that number; sent twice, it counts once.

    Replies `[counted, failures, seconds since the first attempt that failed began]`, or `[lost]` if the lease is gone.
    """
    return _COUNT_FAILURE(
        record=keys.job(job_id), owners=keys.owners, token=claim.token, owner=claim.owner, attempt=attempt
    )
