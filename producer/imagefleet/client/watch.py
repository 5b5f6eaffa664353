"""`Watch`: waits for jobs, without I/O. It says what to subscribe to, when to read records, and yields events.

Redis does not keep a published event for later subscribers. So a watch first subscribes, then reads every record, then
listens. It starts again after a broken connection. It reads the records again after a silence, because a connection may
break without a sign.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagefleet.client import operations
from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import JobEvent, Preview, Progress
from imagefleet.contract.queues import check_job_id
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.errors import QueueUnavailable, ResultTimeout
from imagefleet.store.scripts import Command

#: Seconds without an event until the records are read again.
SILENCE_S: Final = 5.0
#: Seconds without Redis until a watch that has begun gives up.
RECONNECT_FOR_S: Final = 30.0
_PAUSE_S: Final = 0.25
_LOOK_SIZE: Final = 1000
_STATUSES: Final = frozenset(status.value for status in JobStatus)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for a subscription to these channels, and no others; the reply comes once Redis has confirmed it."""

    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Listen:
    """Asks for the next message; the reply is None if there is none within *timeout_s*."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks for a reply after *seconds*."""

    seconds: float


#: What a watch asks of its driver. A `JobEvent` is for the caller and has no reply. The reply to any other effect may
#: be a `QueueUnavailable`.
Effect = list[Command] | Subscribe | Listen | Pause | JobEvent
Watching = Generator[Effect, Any, None]


class Watch:
    """Watches jobs until all of them have ended."""

    def __init__(
        self,
        settings: ClientSettings,
        ids: Iterable[str],
        *,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timeout_s = timeout_s
        self._deadline = float("inf") if timeout_s is None else clock() + timeout_s
        #: Every job that has not ended, with its last event.
        self._last_seen: dict[str, JobEvent | None] = dict.fromkeys(map(check_job_id, ids))
        self._jobs = len(self._last_seen)
        self._reached_at: float | None = None

    def run(self) -> Watching:
        """Yield effects until all jobs have ended.

        Raises:
            JobNotFound: if there is no record of a job.
            ResultTimeout: after *timeout_s*.
            QueueUnavailable: at the start, or after `RECONNECT_FOR_S` without Redis.
        """
        while self._last_seen:
            try:
                yield from self._watch()
            except QueueUnavailable:
                now = self._clock()
                if self._reached_at is None or now - self._reached_at > RECONNECT_FOR_S:
                    raise
                self._check_deadline()
                yield Pause(_PAUSE_S)

    def _watch(self) -> Watching:
        keys = self._settings.keys
        yield from _ask(Subscribe([keys.events(job_id) for job_id in self._last_seen]))
        yield from self._look()
        while self._last_seen:
            self._check_deadline()
            heard = yield from _ask(Listen(min(SILENCE_S, self._deadline - self._clock())))
            if heard is None:
                yield from self._look()
                continue
            self._reached_at = self._clock()
            yield from self._tell(_read(heard))

    def _look(self) -> Watching:
        waiting = list(self._last_seen)
        for start in range(0, len(waiting), _LOOK_SIZE):
            reading = operations.read_snapshots(self._settings, waiting[start : start + _LOOK_SIZE])
            snapshots = yield from _round_trip(reading)
            previews = yield from self._previews([seen.id for seen in snapshots if seen.progress])
            for seen in snapshots:
                event = JobEvent(seen.id, seen.status, seen.progress, seen.result, previews.get(seen.id))
                yield from self._tell(event)
        self._reached_at = self._clock()

    def _previews(self, running: Sequence[str]) -> Generator[Effect, Any, dict[str, Preview]]:
        """The last previews of *running* jobs; most have none."""
        if not running:
            return {}
        found: list[str | None] = yield from _ask([("GET", self._settings.keys.preview(job_id)) for job_id in running])
        pairs = zip(running, found, strict=True)
        return {job_id: Preview.read(json.loads(text)) for job_id, text in pairs if text}

    def _tell(self, event: JobEvent | None) -> Watching:
        if event is None or event.id not in self._last_seen or self._last_seen[event.id] == event:
            return
        if event.status.is_final:
            del self._last_seen[event.id]
        else:
            self._last_seen[event.id] = event
        yield event

    def _check_deadline(self) -> None:
        if self._clock() >= self._deadline:
            raise ResultTimeout(_not_ended(self._last_seen, self._jobs, timeout_s=self._timeout_s or 0))


def _not_ended(last_seen: Mapping[str, JobEvent | None], jobs: int, *, timeout_s: float) -> str:
    """Which of *jobs* had not ended, where they were, and what to do."""
    statuses = {event.status for event in last_seen.values() if event}
    job_id, event = next(iter(last_seen.items()))
    if len(last_seen) == 1:
        where = f"still {event.status}" if event else "not seen"
        which = f"job {job_id} was {where} after {timeout_s:g} s, and is not canceled"
    else:
        which = f"{len(last_seen)} of {jobs} jobs had not ended after {timeout_s:g} s and go on, such as {job_id}"
    if statuses == {JobStatus.QUEUED}:
        return f"{which}: no worker had taken it; `imagefleet queues` shows whether one serves its model"
    return f"{which}: wait again with a longer timeout, or cancel"


def _ask(effect: Effect) -> Generator[Effect, Any, Any]:
    reply = yield effect
    if isinstance(reply, QueueUnavailable):
        raise reply
    return reply


def _round_trip(operation: operations.Operation[Any]) -> Generator[Effect, Any, Any]:
    commands = next(operation)
    while True:
        replies = yield from _ask(commands)
        try:
            commands = operation.send(replies)
        except StopIteration as done:
            return done.value


def _read(text: str) -> JobEvent | None:
    """The event that a worker or client published; None for a kind that this version does not know."""
    heard: dict[str, Any] = json.loads(text)
    kind, job_id, data = heard["type"].removeprefix("job."), heard["id"], heard["data"]
    if kind == "progress":
        preview = Preview.read(data["preview"]) if "preview" in data else None
        progress = Progress(data["done"], data["total"])
        return JobEvent(job_id, JobStatus.RUNNING, progress, preview=preview, left_s=data.get("left_s"))
    if kind not in _STATUSES:
        return None
    status = JobStatus(kind)
    return JobEvent(job_id, status, result=JobResult.model_validate(data) if status.is_final else None)


class InOrder:
    """Puts results into the order of their jobs: keeps a result until all before it are there."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Expect one result for each of *ids*."""
        self._waiting = iter(ids)
        self._next = next(self._waiting, None)
        self._early: dict[str, JobResult] = {}

    def add(self, result: JobResult) -> Iterator[JobResult]:
        """Take *result*, and yield the results that are next in order now, if any."""
        self._early[result.id] = result
        while self._next in self._early:
            yield self._early.pop(self._next)
            self._next = next(self._waiting, None)
