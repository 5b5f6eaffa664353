"""Opening: builds what a process needs to make images, or says in one sentence why it cannot."""

import os
from collections.abc import Callable
from typing import NoReturn

import redis

from imagefleet.queues import Keys
from imagefleet_worker import starting
from imagefleet_worker.attempts import Desk
from imagefleet_worker.burial import Burial
from imagefleet_worker.engine import Engine
from imagefleet_worker.errors import ExitCode, ModelUnavailable, StorageRefused
from imagefleet_worker.flights import Flights
from imagefleet_worker.generation import Studio
from imagefleet_worker.group.opening import open_leader
from imagefleet_worker.heartbeat import Heartbeat
from imagefleet_worker.leases import Leases
from imagefleet_worker.metrics import Metrics
from imagefleet_worker.patience import Patience
from imagefleet_worker.progress import ProgressBoard
from imagefleet_worker.settings import Settings
from imagefleet_worker.storage import Storage
from imagefleet_worker.watchdog import Watchdog


def open_desk(
    settings: Settings,
    *,
    client: "redis.Redis",
    worker: str,
    keys: Keys,
    leases: Leases,
    flights: Flights,
    burial: Burial,
    metrics: Metrics,
    heartbeat: Heartbeat,
) -> Desk:
    """Reach the bucket, load and warm up the model, and let the engine say when a message may be claimed.

    Raises:
        StorageRefused, StorageUnavailable: where the bucket cannot be written to.
        ModelUnavailable: where the model cannot be loaded or makes no image.
        GroupBroken, SettingsInvalid: where its device group cannot be formed.
    """
    studio = open_studio(settings, worker=worker)
    engine = studio.engine
    metrics.sources.engine, metrics.sources.memory = engine.stats, engine.memory
    heartbeat.watch_device(studio.watchdog.signs, timeout_s=settings.engine.job_timeout_s)
    # What is claimed and has not come to the device yet will need its room.
    leases.gate = lambda: engine.has_room(coming=max(0, leases.count() - flights.count_arrived()))
    leases.worker = worker
    engine.call_when_room(lambda: leases.wake())  # noqa: PLW0108  # the transport sets `wake` later

    return Desk(
        settings=settings,
        keys=keys,
        studio=studio,
        flights=flights,
        board=ProgressBoard(
            client, keys=keys, interval_s=settings.worker.progress_interval_s, on_cancel=flights.cancel
        ),
        redis=Patience(client),
        metrics=metrics,
        leases=leases,
        bury=burial.of_job,
        abandon=_abandon,
    )


def open_studio(settings: Settings, *, worker: str) -> Studio:
    """Reach the bucket, load and warm up the model. Raises as `open_desk`."""
    if not settings.storage.bucket:
        raise StorageRefused("no bucket: set IMAGEFLEET_STORAGE_BUCKET")
    if not settings.model.source:
        raise ModelUnavailable("no model: set IMAGEFLEET_MODEL_SOURCE to a folder or a Hugging Face repository id")
    storage = Storage(settings.storage)
    with starting.phase("storage"):
        storage.check()
    with starting.phase("load"):
        engine, farewell = _open_engine(settings)
    if settings.model.warm_up:
        with starting.phase("warm_up"):
            engine.warm_up()
    return Studio(
        engine=engine,
        storage=storage,
        watchdog=Watchdog(settings.engine.job_timeout_s),
        model=settings.model,
        encoding=settings.encoding,
        worker=worker,
        farewell=farewell,
    )


def _open_engine(settings: Settings) -> tuple[Engine, Callable[[], None]]:
    if settings.group.has_ranks:
        return open_leader(settings)
    return Engine.load(settings.model, settings.engine, settings.speed, group=settings.group), lambda: None


def _abandon(sentence: str) -> NoReturn:
    os.write(2, f"imagefleet: {sentence}\n".encode())
    os._exit(ExitCode.DEVICE_FAULT)
