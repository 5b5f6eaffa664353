"""Registration: keeps this process in the registry of workers, so that anyone can see what it is and what it does."""

import os
import platform
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis
import structlog

from imagefleet.contract.queues import WEBHOOK_QUEUE, queue_for
from imagefleet.errors import reason_of
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.worker_registry import RunningJob, Worker, WorkerState
from imagefleet_worker.health.heartbeat import Heartbeat
from imagefleet_worker.jobs.running import RunningAttempts
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.throughput import JobRate, RateWindow
from imagefleet_worker.process.engine_handle import EngineHandle
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_LEAST_TTL_S: Final = 3 * _EVERY_S
_TTL_LEASES: Final = 2
_MOST_JOBS: Final = 64
_JOIN_S: Final = 5.0


class Registration:
    """The entry of one process in the registry, written every two seconds by a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        client: "redis.Redis",
        *,
        keys: Keys,
        leases: Leases,
        attempts: RunningAttempts,
        heartbeat: Heartbeat,
        metrics: Metrics,
        engine: EngineHandle,
        worker: str,
        queues: Callable[[], tuple[str, ...]],
    ) -> None:
        """Register as *worker*, a consumer of *queues*, which may change; the timeouts of *client* should be short."""
        self._client = client
        self._keys = keys
        self._leases = leases
        self._attempts = attempts
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._engine = engine
        self._ttl_s = max(_TTL_LEASES * settings.lease.duration_s, _LEAST_TTL_S)
        self._rates = RateWindow()
        self._job_rate = JobRate()
        self._queues = queues
        self._identity = _identity(settings, owner=leases.owner, worker=worker, queues=queues())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self) -> None:
        """Register now, and again every two seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the entry; if Redis cannot be reached, the entry expires."""
        if self._stopped.is_set() or not self._thread.is_alive():
            return
        self._stopped.set()
        self._thread.join(timeout=_JOIN_S)
        try:
            for command in worker_registry.unregister(self._keys, self._leases.owner):
                self._client.execute_command(*command)
        except redis.RedisError as error:
            log.debug("not unregistered", error=reason_of(error))

    def _run(self) -> None:
        while True:
            try:
                command = worker_registry.register(self._keys, self._entry(), ttl_s=self._ttl_s)
                self._client.execute_command(*command)
            except redis.RedisError as error:  # the next entry may be written
                log.debug("not registered", error=reason_of(error))
            except Exception:  # any error of what is read: the next entry may be written
                log.exception("the entry of this worker could not be written")
            if self._stopped.wait(_EVERY_S):
                return

    def _entry(self) -> Worker:
        images, busy_s = self._metrics.images, self._engine.stats().get("busy_seconds", 0.0)
        rates = self._rates.note(at=time.monotonic(), images=images, busy_s=busy_s)
        work = self._attempts.work()
        jobs_per_s = self._job_rate.note(worked_s=work.worked_s, ended=work.ended)
        held, running = self._leases.count(), self._attempts.running()
        return self._identity.model_copy(
            update={
                "queues": self._queues(),
                "state": self._state(is_busy=bool(held or running)),
                "device": self._engine.device_name,
                "revision": self._engine.revision,
                "joining": self._engine.joining,
                "held": held,
                "jobs": tuple(RunningJob(id=a.job_id, done=a.steps[0], total=a.steps[1]) for a in running[:_MOST_JOBS]),
                "images": images,
                "warnings": self._metrics.warnings,
                "failures": self._engine.failures(),
                "images_per_s": round(rates.images, 3),
                "jobs_per_s": jobs_per_s,
                "busy": round(rates.busy, 3),
                "memory": {**resident(), **{kind: int(size) for kind, size in self._engine.memory().items()}},
            }
        )

    def _state(self, *, is_busy: bool) -> WorkerState:
        state = WorkerState(self._heartbeat.state)
        return WorkerState.BUSY if state is WorkerState.READY and is_busy else state


def _identity(settings: Settings, *, owner: str, worker: str, queues: tuple[str, ...]) -> Worker:
    """What does not change in the life of a process."""
    identity = Worker(
        id=owner,
        name=worker,
        host=platform.node(),
        pid=os.getpid(),
        version=version("imagefleet"),
        queues=queues,
        state=WorkerState.LOADING,
        started_at=datetime.now(UTC),
    )
    if WEBHOOK_QUEUE in queues:
        identity = identity.model_copy(update={"webhook_hosts": settings.webhook.allow_hosts})
    if queue_for(settings.model.alias) in queues:
        model, mode = settings.model.alias, settings.engine.mode.value
        identity = identity.model_copy(update={"model": model, "mode": mode})
    return identity


def resident() -> dict[str, int]:
    """The process's memory in bytes, as `resident`; empty if the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # proc(5)
    except (OSError, IndexError, ValueError):
        return {}
    return {"resident": pages * os.sysconf("SC_PAGE_SIZE")}
