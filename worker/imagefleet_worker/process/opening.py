"""The line in the log that says that a worker is open: what it serves, where, and how long its start took."""

from collections.abc import Sequence

import structlog

from imagefleet.contract.queues import queue_for
from imagefleet_worker.observability.startup_timing import StartupTiming, process_age_s
from imagefleet_worker.process.engine_handle import EngineHandle
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)


def log_opening(
    name: str, settings: Settings, engine: EngineHandle, timing: StartupTiming, *, queues: Sequence[str]
) -> None:
    """Log that the worker *name* is open; a worker that makes images also says which, and on what."""
    makes_images = queue_for(settings.model.alias) in queues
    served = {
        "model": settings.model.alias,
        "source": settings.model.source,
        "revision": engine.revision,
        "device_name": engine.device_name,
        "mode": settings.engine.mode.value,
        "joining": engine.joining,
    }
    phases = {f"{phase}_s": round(seconds, 2) for phase, seconds in timing.seconds.items()}
    log.info(
        "worker opened",
        worker=name,
        queues=",".join(queues),
        makes_images=makes_images,
        **(served if makes_images else {}),
        seconds=round(process_age_s(), 2),
        **phases,
    )
