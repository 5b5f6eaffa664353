"""The registry of workers: what each worker process says of itself, for as long as it says it.

As in `imagefleet.records`, each function returns a command. A process signs itself in every two seconds under an id of
its own; an entry that is not signed again is gone after its time to live. Times are of Redis's clock.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from imagefleet.queues import Keys
from imagefleet.records import Command

#: A sign comes every two seconds; a process that let some of them out is called silent.
SILENT_AFTER_S: Final = 10.0

_NOW: Final = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"

# KEYS: index, entry, queues. ARGV: id, entry, time to live, then names of queues.
# It begins with a removal: a full Redis refuses a script only at its first write, if that could grow.
_SIGN = (
    _NOW
    + """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', math.ceil(tonumber(ARGV[3]) * 1000))
if #ARGV > 3 then redis.call('SADD', KEYS[3], unpack(ARGV, 4)) end
return 1
"""
)

# KEYS: index. ARGV: prefix of entries. Replies {now, entry, age, entry, age, ...}.
_READ = (
    _NOW
    + """
local found = {string.format('%.3f', now)}
local index = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #index, 2 do
  local entry = redis.call('GET', ARGV[1] .. index[i])
  if entry then
    found[#found + 1] = entry
    found[#found + 1] = string.format('%.3f', math.max(now - tonumber(index[i + 1]), 0))
  end
end
return found
"""
)


class WorkerState(StrEnum):
    """What a worker process does."""

    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    #: It has not signed for a while: it was killed, is cut off from Redis, or is stopped.
    SILENT = "silent"


class _Wire(BaseModel):
    # Workers of another version may say more, or less.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class RunningJob(_Wire):
    """A job that a worker is making."""

    id: str
    done: int = 0
    """Denoising steps behind it; all of them while its images are stored."""
    total: int = 0
    """Denoising steps in all; 0 until the first one is done."""


class Worker(_Wire):
    """A worker process, as it last described itself."""

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
    held: int = 0
    """Messages that it holds."""
    jobs: tuple[RunningJob, ...] = ()
    """Those that run, the oldest first; at most 64 are told."""
    images: int = 0
    """Made since its start."""
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
    """How long ago it signed last, in seconds; filled in by who reads."""

    @property
    def running(self) -> int:
        """How many messages it works on: jobs, or deliveries of webhooks."""
        return len(self.jobs) if self.model else self.held


def sign(keys: Keys, worker: Worker, *, ttl_s: float) -> Command:
    """Write down *worker* for *ttl_s* seconds, and its queues for good."""
    entry = worker.model_dump_json(exclude={"silent_s"})
    where = (keys.workers, keys.worker(worker.id), keys.queues)
    return ("EVAL", _SIGN, 3, *where, worker.id, entry, ttl_s, *worker.queues)


def leave(keys: Keys, worker_id: str) -> list[Command]:
    """Take a process out at once."""
    return [("ZREM", keys.workers, worker_id), ("DEL", keys.worker(worker_id))]


def read(keys: Keys) -> Command:
    """Read all entries; `read_all` makes sense of the reply."""
    return ("EVAL", _READ, 1, keys.workers, keys.worker(""))


def read_all(reply: Any) -> tuple[datetime, list[Worker]]:
    """The time in Redis and the workers, by name, that the reply to `read` tells of.

    One that fell silent is left out where another process has its name by now.
    """
    now, *rest = reply
    found = [_read(entry, float(age)) for entry, age in zip(rest[::2], rest[1::2], strict=True)]
    alive = {worker.name for worker in found if worker.state is not WorkerState.SILENT}
    shown = [worker for worker in found if worker.state is not WorkerState.SILENT or worker.name not in alive]
    return datetime.fromtimestamp(float(now), UTC), sorted(shown, key=lambda worker: (worker.name, worker.id))


def queue_names(keys: Keys) -> Command:
    """Replies the names of all queues that were ever consumed, or filled by a client."""
    return ("SMEMBERS", keys.queues)


def _read(entry: str, silent_s: float) -> Worker:
    changes: dict[str, Any] = {"silent_s": silent_s}
    if silent_s > SILENT_AFTER_S:
        changes |= {"state": WorkerState.SILENT, "images_per_s": 0.0, "busy": 0.0}
    return Worker.model_validate_json(entry).model_copy(update=changes)
