"""The outlook of a job: its place in line and when its images should be there, from what is known already.

The place is counted, not searched for: a job's record keeps the number that its message had when it was pushed, and
what is in its list now, less what was pushed after it, is what goes first. Messages of tenants are in a sorted set by
their tokens. Each of these costs the same whatever waits (a sorted set: its logarithm). The speed is what the workers
of its model say of themselves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from imagefleet import records, workers
from imagefleet.operations import Operation, not_found
from imagefleet.queues import Keys, check_job_id, queue_for
from imagefleet.records import Command
from imagefleet.results import JobStatus
from imagefleet.workers import Worker, WorkerState

_FIELDS: Final = ("status", "model", "attempts", "place", "progress", "ends_at")

# KEYS: the queue's lists, those less urgent than the job's left out. ARGV: number or token, tenant or empty.
_LINE: Final = """
local list, own, tenant = KEYS[#KEYS], tonumber(ARGV[1]), ARGV[2]
local urgent, lanes = 0, list .. ':tenants'
for i = 1, #KEYS - 1 do urgent = urgent + redis.call('LLEN', KEYS[i]) + redis.call('ZCARD', KEYS[i] .. ':tenants') end
local plain, others = redis.call('LLEN', list), redis.call('ZCARD', lanes)
local turns = redis.call('ZCARD', list .. ':turns')
if plain > 0 and not redis.call('ZSCORE', list .. ':turns', '') then turns = turns + 1 end
local first
if tenant == '' then
  first = plain - (tonumber(redis.call('GET', list .. ':number') or '0') - own)
else
  first = math.min(redis.call('ZCOUNT', lanes, '-inf', own), redis.call('LLEN', list .. ':tenant:' .. tenant))
end
return {urgent, plain + others, turns, first}
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What may be expected of a job, as things stand now."""

    id: str
    status: JobStatus
    #: Of a queued job, counted from 1: it is taken as this one at the latest, over all priorities of its model, if
    #: nobody submits anything more urgent and no other tenant comes. None where not known: see docs/progress.md.
    position: int | None
    #: Of the workers of its model, in the last minute; None where there is none.
    images_per_s: float | None
    #: Seconds until its images should be there; of a running job, until its last step. None where not known.
    eta_s: float | None


class Place(NamedTuple):
    """Where a message was put into line."""

    #: Which of the queue's lists, counted from 1.
    level: int
    #: Of a tenant's message its token, else how many had been pushed on that list, itself included.
    number: int
    #: Or empty.
    tenant: str

    @classmethod
    def parse(cls, text: str | None) -> "Place | None":
        """Read what stands in a record; None for one that an older client made, or a worker."""
        if not text:
            return None
        level, number, *tenant = text.split("/")
        return cls(int(level), int(number), *(tenant or [""]))


def outlook(keys: Keys, job_id: str) -> Operation[Outlook]:
    """Look ahead for one job, in two round trips at most; the cost grows with the workers, not with what waits.

    Raises:
        JobNotFound: where there is no record.
    """
    fields, said = yield [records.read(keys, check_job_id(job_id), *_FIELDS), workers.read(keys)]
    status, model, attempts, place, progress, ends_at = fields
    if status is None:
        raise not_found([job_id])
    at, seen = workers.read_all(said)
    queue = queue_for(model or "default")
    crew = working(seen, queue)
    images_per_s = sum(each.images_per_s for each in crew) if crew else None
    job, position, eta_s = JobStatus(status), None, None
    if job is JobStatus.RUNNING and progress and ends_at:
        eta_s = left_s(float(ends_at), at)
    # A job that waits for another attempt is not where its number says.
    if job is JobStatus.QUEUED and not int(attempts or 0) and (where := Place.parse(place)):
        [counts] = yield [_line(keys, queue, where)]
        position = position_of(counts)
        eta_s = wait_s(position, crew)
    return Outlook(job_id, job, position, images_per_s, eta_s)


def working(seen: Iterable[Worker], queue: str) -> list[Worker]:
    """The workers of *queue* that take jobs."""
    takes = (WorkerState.READY, WorkerState.BUSY)
    return [worker for worker in seen if queue in worker.queues and worker.state in takes]


def position_of(counts: Sequence[Any]) -> int:
    """The place in line, from 1, that *counts* give: more urgent ones, all of the list, lanes, first of its own lane.

    Lanes take turns, so that each of them may have one message for each that goes first in the job's own.
    """
    urgent, in_list, turns, first = map(int, counts)
    return urgent + max(1, min(in_list, max(1, first) * max(1, turns)))


def wait_s(position: int, crew: Sequence[Worker]) -> float | None:
    """Seconds until a job at *position* should have ended; None where no worker has a measured speed.

    By then all that go first have ended, those that run now included; and a job takes one worker's time, however many
    are idle.
    """
    jobs_per_s = sum(worker.jobs_per_s or 0.0 for worker in crew)
    if jobs_per_s <= 0:
        return None
    running = sum(worker.running for worker in crew)
    return round(max(position + running, len(crew)) / jobs_per_s, 3)


def left_s(ends_at: float, now: datetime) -> float:
    """Seconds until *ends_at*, in seconds since 1970; 0 where it is past."""
    return round(max(0.0, ends_at - now.timestamp()), 3)


def _line(keys: Keys, queue: str, place: Place) -> Command:
    lists = keys.lists(queue)[: place.level]
    return ("EVAL", _LINE, len(lists), *lists, place.number, place.tenant)
