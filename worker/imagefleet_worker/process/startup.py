"""Startup: builds what a process needs to make images, or says in one sentence why it cannot."""

import os
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import redis
import structlog

from imagefleet.store.keys import Keys
from imagefleet_worker.diffusion.calibration_record import CalibrationRecords
from imagefleet_worker.diffusion.defaults import check_defaults
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.image_checker import ImageChecker
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.group.startup import open_leader
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.jobs.image_maker import ImageMaker
from imagefleet_worker.jobs.progress import ProgressPublisher
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.runner import JobRunner
from imagefleet_worker.jobs.running import RunningAttempts
from imagefleet_worker.jobs.self_test import SelfTest
from imagefleet_worker.jobs.uploader import Uploader
from imagefleet_worker.jobs.watched_image_maker import WatchedImageMaker
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.startup_timing import StartupTiming
from imagefleet_worker.process.engine_handle import EngineHandle
from imagefleet_worker.process.peers import Peers
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.device_entries import DeviceEntries
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import EngineMode, Settings
from imagefleet_worker.storage.provenance import Provenance

log = structlog.get_logger(__name__)


def build_job_runner(
    settings: Settings,
    client: "redis.Redis",
    *,
    keys: Keys,
    leases: Leases,
    attempts: RunningAttempts,
    image_maker: WatchedImageMaker,
    metrics: Metrics,
    dead_letters: DeadLetterWriter,
    worker: str,
) -> JobRunner:
    """What runs the jobs of the process *worker*."""
    progress = ProgressPublisher(
        client, keys=keys, interval_s=settings.worker.progress_interval_s, on_cancel=attempts.cancel
    )
    return JobRunner(
        settings,
        keys=keys,
        redis=RetryingRedis(client),
        leases=leases,
        attempts=attempts,
        image_maker=image_maker,
        progress=progress,
        metrics=metrics,
        dead_letters=dead_letters,
        worker=worker,
        exit_process=partial(_exit_process, leases.device_entries),
    )


def build_image_maker(
    settings: Settings,
    uploader: Uploader,
    checker: ImageChecker | None,
    provenance: Provenance,
    *,
    worker: str,
    entries: DeviceEntries,
    watchdog: Watchdog,
    handle: EngineHandle,
    on_capacity: Callable[[], None],
    calibrations: CalibrationRecords,
    timing: StartupTiming,
    peers: Peers,
    leave: Callable[[str, ExitCode], NoReturn],
) -> WatchedImageMaker:
    """Load and warm up the model, and attach its engine to *handle*.

    *on_capacity* is called whenever the engine may have capacity for one more job; *leave* ends a sick process.

    Raises:
        ModelUnavailable: If the model cannot be loaded or makes no image.
        GroupBroken, SettingsInvalid: If the device group cannot be formed, or no job be made with the defaults.
    """
    engine, stop_group = _ready_engine(settings, calibrations, timing)
    handle.attach(engine, stop=stop_group, has_room=uploader.has_room)
    engine.call_when_capacity(on_capacity)
    image_maker = ImageMaker(
        engine,
        uploader,
        watchdog,
        entries,
        model=settings.model,
        encoding=settings.encoding,
        limits=settings.limits,
        checker=checker,
        provenance=provenance,
        worker=worker,
    )
    watched = WatchedImageMaker(
        image_maker,
        self_test=SelfTest(engine, uploader, watchdog).run,
        most_failures=settings.health.max_failures,
        compare=peers.compare,
        hold=partial(_hold, handle, on_capacity),
        leave=leave,
    )
    handle.failures = watched.failures_in_a_row
    return watched


def _hold(handle: EngineHandle, on_capacity: Callable[[], None], is_testing: bool) -> None:  # noqa: FBT001  # a callback of one value
    """Let nothing be claimed while the worker tests itself."""
    handle.is_held = is_testing
    on_capacity()


def _ready_engine(
    settings: Settings, calibrations: CalibrationRecords, timing: StartupTiming
) -> tuple[Engine, Callable[[], None]]:
    """The engine, loaded and warmed up, and what stops its device group."""
    with timing.phase("load"):
        engine, stop_group = _load_engine(settings)
    check_defaults(engine, settings.limits)
    if settings.model.warm_up:
        with timing.phase("warm_up"):
            engine.warm_up(calibrations)
    elif settings.engine.mode is not EngineMode.OFF:
        log.warning(
            "jobs are made one at a time: joining is proved by the warm-up, and IMAGEFLEET_MODEL_WARM_UP is off"
        )
    return engine, stop_group


def _load_engine(settings: Settings) -> tuple[Engine, Callable[[], None]]:
    """The engine, and what ends the other ranks of its device group."""
    if settings.group.has_ranks:
        return open_leader(settings)
    return Engine.load(settings.model, settings.engine, settings.speed, group=settings.group), lambda: None


def _exit_process(entries: DeviceEntries, sentence: str) -> NoReturn:
    """End this process, whose device is broken; its jobs are redelivered, in halves."""
    os.write(2, f"imagefleet: {sentence}\n".encode())
    entries.note_end(sentence)
    os._exit(ExitCode.DEVICE_FAULT)
