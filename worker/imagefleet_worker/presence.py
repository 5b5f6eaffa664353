"""Presence: signs this process in the fleet's registry, so that anyone can see what it is and what it does."""

import os
import platform
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis
import structlog

from imagefleet import workers
from imagefleet.queues import Keys, queue_for
from imagefleet.workers import RunningJob, Worker, WorkerState
from imagefleet_worker.flights import Flights
from imagefleet_worker.heartbeat import Heartbeat
from imagefleet_worker.leases import Leases
from imagefleet_worker.metrics import Metrics
from imagefleet_worker.pace import Pace, Speed
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_LEAST_TTL_S: Final = 3 * _EVERY_S
_TTL_LEASES: Final = 2
_MOST_JOBS: Final = 64


class Presence:
    """One entry in the registry: one script in Redis every two seconds, whatever the worker does."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        leases: Leases,
        flights: Flights,
        heartbeat: Heartbeat,
        metrics: Metrics,
    ) -> None:
        self._keys = keys
        self._leases = leases
        self._flights = flights
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._settings = settings
        self._ttl_s = max(_TTL_LEASES * settings.lease.duration_s, _LEAST_TTL_S)
        self._pace = Pace()
        self._speed = Speed()
        self._device: str | None = None
        self._revision: str | None = None
        self._client: redis.Redis | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def begin(self, client: "redis.Redis", *, worker: str, queues: tuple[str, ...]) -> None:
        """Sign in as *worker*, and again every two seconds; *client* should give up soon."""
        self._client = client
        born = Worker(
            id=self._leases.owner,
            name=worker,
            host=platform.node(),
            pid=os.getpid(),
            version=version("imagefleet"),
            queues=queues,
            state=WorkerState.LOADING,
            started_at=datetime.now(UTC),
        )
        if queue_for(self._settings.model.alias) in queues:
            model, mode = self._settings.model.alias, self._settings.engine.mode.value
            born = born.model_copy(update={"model": model, "mode": mode})
        self._thread = threading.Thread(target=self._run, args=(born,), name="presence", daemon=True)
        self._thread.start()

    def describe(self, *, device: str, revision: str) -> None:
        """Say which device and weights this process has, once the model is loaded."""
        self._device, self._revision = device, revision

    def leave(self) -> None:
        """Sign out; where that does not reach Redis, the entry runs out by itself."""
        if self._thread is None or self._client is None:
            return
        self._stopped.set()
        self._thread.join(timeout=5)
        self._thread = None
        try:
            for command in workers.leave(self._keys, self._leases.owner):
                self._client.execute_command(*command)
        except redis.RedisError as error:
            log.debug("not signed out", error=str(error))

    def _run(self, born: Worker) -> None:
        while True:
            try:
                self._sign(born)
            except redis.RedisError as error:  # the next sign may get through
                log.debug("not signed", error=str(error))
            except Exception:  # whatever a source does, the next sign is tried
                log.exception("the state of this worker could not be told")
            if self._stopped.wait(_EVERY_S):
                return

    def _sign(self, born: Worker) -> None:
        if self._client is not None:
            self._client.execute_command(*workers.sign(self._keys, self._now(born), ttl_s=self._ttl_s))

    def _now(self, born: Worker) -> Worker:
        engine = self._metrics.sources.engine()
        images, busy_s = self._metrics.images, engine.get("busy_seconds", 0.0)
        rates = self._pace.note(at=time.monotonic(), images=images, busy_s=busy_s)
        work = self._flights.work()
        jobs_per_s = self._speed.note(worked_s=work.worked_s, ended=work.ended)
        held = self._leases.count()
        return born.model_copy(
            update={
                "state": self._state(is_busy=bool(held or len(self._flights))),
                "device": self._device,
                "revision": self._revision,
                "held": held,
                "jobs": self._jobs(),
                "images": images,
                "images_per_s": round(rates.images, 3),
                "jobs_per_s": jobs_per_s,
                "busy": round(rates.busy, 3),
                "memory": {**resident(), **{kind: int(size) for kind, size in self._metrics.sources.memory().items()}},
            }
        )

    def _state(self, *, is_busy: bool) -> WorkerState:
        state = WorkerState(self._heartbeat.state)
        return WorkerState.BUSY if state is WorkerState.READY and is_busy else state

    def _jobs(self) -> tuple[RunningJob, ...]:
        flights = self._flights.all()[:_MOST_JOBS]
        return tuple(RunningJob(id=each.job_id, done=each.steps[0], total=each.steps[1]) for each in flights)


def resident() -> dict[str, int]:
    """The process's memory in bytes, as `resident`; nothing where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # proc(5)
    except (OSError, IndexError, ValueError):
        return {}
    return {"resident": pages * os.sysconf("SC_PAGE_SIZE")}
