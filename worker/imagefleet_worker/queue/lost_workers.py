"""Lost workers: what a message carries of the workers that were lost while its job was on their devices.

One such loss proves nothing: a machine is taken away, or another job on the device was the cause. So the jobs of a lost
worker run again in halves: at most half as many share a device. The job that is the cause is alone in the end.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagefleet.contract.queues import LOST_WORKERS_HEADER, REDELIVERIES_HEADER

#: Losses that a message carries; the oldest are dropped.
_MOST: Final = 100


class LostWorker(BaseModel):
    """One worker that was lost while a job was on its device. Times are seconds since 1970, by the clock of Redis."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker: str
    device: str
    #: When the job entered the device.
    entered: float = Field(ge=0, le=1e11)
    #: When the loss was noticed, because the lease had run out.
    at: float = Field(ge=0, le=1e11)
    #: Number of jobs on the device.
    jobs: int = Field(ge=1)
    #: Steps done and in all, such as `3/20`; empty if none was reported.
    steps: str = ""
    #: How the process ended, in its own words; empty if it could not tell.
    ended: str = ""

    def describe(self) -> str:
        """What is known, for a person."""
        step = f"at step {self.steps}" if self.steps else "before a step was reported"
        others = f"with {self.jobs - 1} other jobs" if self.jobs > 1 else "with no other job"
        end = self.ended or f"silent until its lease had run out at {_clock(self.at)}; how it ended is not known"
        return f"{self.worker} ({self.device}), since {_clock(self.entered)} {others}, {step}: {end}"


def losses_in(header: object) -> tuple[LostWorker, ...]:
    """The losses in the header of a message, the oldest first; none if it is no such list."""
    if not isinstance(header, list):
        return ()
    try:
        return tuple(LostWorker.model_validate(each) for each in header[-_MOST:])
    except ValidationError:
        return ()


def concurrency_limit(losses: Sequence[LostWorker]) -> int | None:
    """The most jobs that may share a device with this one, itself included; None: any number."""
    limit: int | None = None
    for loss in losses:
        together = loss.jobs if limit is None else min(loss.jobs, limit)
        limit = max(together // 2, 1)
    return limit


def concurrency_limit_of(message: str) -> int | None:
    """As `concurrency_limit`, for a message as it lies in Redis."""
    if LOST_WORKERS_HEADER not in message:  # nearly all: they are not read twice
        return None
    return concurrency_limit(losses_in(_headers(message).get(LOST_WORKERS_HEADER)))


def is_culprit(losses: Sequence[LostWorker], *, most: int) -> bool:
    """Whether a job with these losses is not run again: it has *most*, and no other job was on the last device."""
    return len(losses) >= most and losses[-1].jobs == 1


def count_redelivery(message: str, loss: str = "", *, window_s: float) -> str:
    """*message* with one redelivery more, and with *loss*, a reply of `take_over`, among its lost workers.

    Losses older than *window_s* before that one are dropped. What is no JSON object with headers stays as it is; the
    next claim dead-letters it.
    """
    headers = _headers(message)
    if not headers:
        return message
    before = headers.get(REDELIVERIES_HEADER)
    headers[REDELIVERIES_HEADER] = (before if isinstance(before, int) else 0) + 1
    if loss:
        latest = LostWorker.model_validate_json(loss)
        known = (*losses_in(headers.get(LOST_WORKERS_HEADER)), latest)
        recent = [each.model_dump() for each in known if each.at >= latest.at - window_s]
        headers[LOST_WORKERS_HEADER] = recent[-_MOST:]
    return json.dumps({**json.loads(message), "headers": headers})


def _headers(message: str) -> dict[str, Any]:
    try:
        envelope: Any = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    headers: Any = envelope.get("headers") if isinstance(envelope, dict) else None
    return headers if isinstance(headers, dict) else {}


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
