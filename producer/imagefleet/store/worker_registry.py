"""The registry of workers: a description of each worker process, which expires without heartbeats.

As in `imagefleet.store.records`, each function returns a command. Every two seconds a process sends a heartbeat with
its description, under an id of its own. A description expires after its time to live. Times are of Redis's clock.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

#: Seconds without a heartbeat after which a process counts as silent.
SILENT_AFTER_S: Final = 10.0

_REGISTER: Final = load("register_worker")
_READ: Final = load("read_workers")


class WorkerState(StrEnum):
    """What a worker process does."""

    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    #: It sends no heartbeats: it was killed, is cut off from Redis, or is stopped.
    SILENT = "silent"


class _Wire(BaseModel):
    # Workers of another version may have more fields, or fewer.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class RunningJob(_Wire):
    """A job that a worker is making."""

    id: str
    done: int = 0
    """Denoising steps behind it; all of them while its images are stored."""
    total: int = 0
    """Denoising steps in all; 0 until the first one is done."""


class Worker(_Wire):
    """A worker process, as its last heartbeat describes it."""

    id: str
    """Of the process; a worker that is started again has another one."""
    name: str
    """Celery's name for it, such as `gpu0@host`."""
    host: str
    pid: int
    version: str = ""
    """Of imagefleet."""
    queues: tuple[str, ...] = ()
    """What it consumes."""
    state: WorkerState
    model: str | None = None
    """Alias of the model; None for a sender of webhooks."""
    revision: str | None = None
    """Of the weights, once they are loaded."""
    device: str | None = None
    """Its name, once the model is loaded."""
    mode: str | None = None
    """How jobs share the device: off, merge or reproducible."""
    joining: str | None = None
    """`proved`, or `refused: ` and why jobs of this model are made one at a time; None if none are joined."""
    webhook_hosts: tuple[str, ...] | None = None
    """Of a sender of webhooks: the hosts and networks that may be private; None for others."""
    held: int = 0
    """Messages that it holds."""
    jobs: tuple[RunningJob, ...] = ()
    """The running jobs, the oldest first; at most 64 of them."""
    images: int = 0
    """Made since its start."""
    warnings: int = 0
    """In the results of these images; not as the jobs asked."""
    failures: int = 0
    """Jobs that have failed in a row, up to now, and not through a fault of their own that is known."""
    images_per_s: float = 0.0
    """Of the last minute."""
    jobs_per_s: float | None = None
    """Of its last minute of work, however long ago; None before its first job has ended."""
    busy: float = 0.0
    """Share of the last minute that the device spent in the model, 0 to 1."""
    memory: dict[str, int] = {}
    """Bytes: `resident` of the process; of a CUDA device `allocated`, `reserved`, `peak` and `total`."""
    started_at: AwareDatetime
    """By the clock of its machine."""
    silent_s: float = 0.0
    """Seconds since its last heartbeat; the reader fills it in."""

    @property
    def running(self) -> int:
        """How many messages it works on: jobs, or deliveries of webhooks."""
        return len(self.jobs) if self.model else self.held


def register(keys: Keys, worker: Worker, *, ttl_s: float) -> Command:
    """Register *worker* for *ttl_s* seconds, and its queues for ever."""
    return _REGISTER(
        workers=keys.workers,
        entry=keys.worker(worker.id),
        queues=keys.queues,
        served=keys.served,
        id=worker.id,
        description=worker.model_dump_json(exclude={"silent_s"}),
        ttl_s=ttl_s,
        names=worker.queues,
    )


def unregister(keys: Keys, worker_id: str) -> list[Command]:
    """Remove a process."""
    return [("ZREM", keys.workers, worker_id), ("DEL", keys.worker(worker_id))]


def read(keys: Keys) -> Command:
    """Read all entries; `parse` parses the reply."""
    return _READ(workers=keys.workers, entries=keys.worker(""))


def parse(reply: Any) -> tuple[datetime, list[Worker]]:
    """The time in Redis and the workers, sorted by name, in the reply to `read`.

    A silent process is left out if another process has its name by now.
    """
    now, *rest = reply
    found = [_read(entry, float(age)) for entry, age in zip(rest[::2], rest[1::2], strict=True)]
    alive = {worker.name for worker in found if worker.state is not WorkerState.SILENT}
    shown = [worker for worker in found if worker.state is not WorkerState.SILENT or worker.name not in alive]
    return datetime.fromtimestamp(float(now), UTC), sorted(shown, key=lambda worker: (worker.name, worker.id))


def served(keys: Keys) -> Command:
    """Replies the names of all queues that workers consume or have consumed."""
    return ("SMEMBERS", keys.served)


def queue_names(keys: Keys) -> Command:
    """Replies the names of all queues that workers have consumed or clients have filled."""
    return ("SMEMBERS", keys.queues)


def _read(entry: str, silent_s: float) -> Worker:
    changes: dict[str, Any] = {"silent_s": silent_s}
    if silent_s > SILENT_AFTER_S:
        changes |= {"state": WorkerState.SILENT, "images_per_s": 0.0, "busy": 0.0}
    return Worker.model_validate_json(entry).model_copy(update=changes)
