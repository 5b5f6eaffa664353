"""Waiting for jobs, without a socket: what to listen to, when to look again, and what to tell the caller.

Redis forgets what nobody hears, so a watch first subscribes, then reads every record, then listens. It does the same
again after a broken connection, and reads again after a silence, because a connection may be dead without saying so.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagefleet import operations
from imagefleet.errors import QueueUnavailable, ResultTimeout
from imagefleet.queues import check_job_id
from imagefleet.records import Command
from imagefleet.results import JobResult, JobStatus
from imagefleet.settings import ClientSettings
from imagefleet.snapshots import JobEvent, Preview, Progress

#: After this many seconds of silence the records are read again.
SILENCE_S: Final = 5.0
#: A watch that has begun survives this many seconds without Redis.
PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.25
_LOOK_SIZE: Final = 1000
_STATUSES: Final = frozenset(status.value for status in JobStatus)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Listen to these channels on a new connection; reply once Redis has confirmed it."""

    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Listen:
    """Reply with the next message, or with None after so many seconds without one."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Reply after so many seconds."""

    seconds: float


#: What a watch asks its driver for; a `JobEvent` is for the caller and has no reply. A `QueueUnavailable` may be the
#: reply to anything.
Effect = list[Command] | Subscribe | Listen | Pause | JobEvent
Watching = Generator[Effect, Any, None]


class Watch:
    """The watch over some jobs until all of them have ended."""

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
        #: Every job that has not ended, and what was told of it last.
        self._told: dict[str, JobEvent | None] = dict.fromkeys(map(check_job_id, ids))
        self._jobs = len(self._told)
        self._reached_at: float | None = None

    def run(self) -> Watching:
        """Yield effects until all jobs have ended.

        Raises:
            JobNotFound: where there is no record of a job.
            ResultTimeout: after *timeout_s*.
            QueueUnavailable: at the start, or after `PATIENCE_S` without Redis.
        """
        while self._told:
            try:
                yield from self._watch()
            except QueueUnavailable:
                now = self._clock()
                if self._reached_at is None or now - self._reached_at > PATIENCE_S:
                    raise
                self._check_deadline()
                yield Pause(_PAUSE_S)

    def _watch(self) -> Watching:
        keys = self._settings.keys
        yield from _ask(Subscribe([keys.events(job_id) for job_id in self._told]))
        yield from self._look()
        while self._told:
            self._check_deadline()
            heard = yield from _ask(Listen(min(SILENCE_S, self._deadline - self._clock())))
            if heard is None:
                yield from self._look()
                continue
            self._reached_at = self._clock()
            yield from self._tell(_read(heard))

    def _look(self) -> Watching:
        waiting = list(self._told)
        for start in range(0, len(waiting), _LOOK_SIZE):
            reading = operations.look(self._settings, waiting[start : start + _LOOK_SIZE])
            snapshots = yield from _round_trip(reading)
            previews = yield from self._previews([seen.id for seen in snapshots if seen.progress])
            for seen in snapshots:
                event = JobEvent(seen.id, seen.status, seen.progress, seen.result, previews.get(seen.id))
                yield from self._tell(event)
        self._reached_at = self._clock()

    def _previews(self, running: Sequence[str]) -> Generator[Effect, Any, dict[str, Preview]]:
        """The last previews of jobs that run; most have none."""
        if not running:
            return {}
        found: list[str | None] = yield from _ask([("GET", self._settings.keys.preview(job_id)) for job_id in running])
        pairs = zip(running, found, strict=True)
        return {job_id: Preview.read(json.loads(text)) for job_id, text in pairs if text}

    def _tell(self, event: JobEvent | None) -> Watching:
        if event is None or event.id not in self._told or self._told[event.id] == event:
            return
        if event.status.is_final:
            del self._told[event.id]
        else:
            self._told[event.id] = event
        yield event

    def _check_deadline(self) -> None:
        if self._clock() >= self._deadline:
            raise ResultTimeout(
                f"{len(self._told)} of {self._jobs} jobs had not ended after {self._timeout_s:g} s; they go on"
            )


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
    """The event that a worker or client published; None for what an older reader need not know."""
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
