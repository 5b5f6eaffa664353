"""`imagefleet-worker --devices`: runs a worker for each device of this machine, and restarts those that end."""

import argparse
import os
import queue
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.errors import SettingsInvalid, complain
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.hardware.discovery import DeviceSlot, parse_devices
from imagefleet_worker.health import device_status
from imagefleet_worker.observability import logs
from imagefleet_worker.settings import Settings
from imagefleet_worker.supervision.device_worker import LaunchOptions
from imagefleet_worker.supervision.requirements import INSTALL_WORKER, WORKER, missing
from imagefleet_worker.supervision.supervisor import Supervisor

OPTION: Final = "--devices"
_DESCRIPTION: Final = "Run a worker for each device of this machine, and restart those that end."

log = structlog.get_logger(__name__)

_POLL_EVERY_S: Final = 0.2
_DRAIN_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Options of Celery that are decided here.
_RESERVED: Final = ("-n", "--hostname", "-P", "--pool", "-D", "--detach")


def main(arguments: Sequence[str]) -> int:
    """Run the workers that *arguments* ask for until they have ended, and return the exit code."""
    choice, options = _parse(arguments)
    if packages := missing(WORKER):
        complain(f"workers need {', '.join(packages)}: {INSTALL_WORKER}")
        return 1
    try:
        settings = Settings.load()
        slots = parse_devices(choice)
        _check(settings, options)
    except SettingsInvalid as error:
        complain(error.message)
        return ExitCode.SETTINGS_INVALID
    logs.configure(settings.worker)
    with ExitStack() as stack:
        folder = settings.health.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="imagefleet-"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(
            [_launch(slot, index, settings, options=options) for index, slot in enumerate(slots)],
            restarts=settings.devices,
            drain_s=settings.worker.drain_s,
            health=Path(folder),
        )
        _run(supervisor)
        log.info("all workers have ended", exit_code=supervisor.exit_code)
    return supervisor.exit_code


def _check(settings: Settings, options: Sequence[str]) -> None:
    """Raise SettingsInvalid for what every worker would end with again and again: no model, or no bucket."""
    if any(WEBHOOK_QUEUE in option for option in options):
        return
    needed = {"IMAGEFLEET_MODEL_SOURCE": settings.model.source, "IMAGEFLEET_STORAGE_BUCKET": settings.storage.bucket}
    if unset := [name for name, value in needed.items() if not value]:
        raise SettingsInvalid(f"set {' and '.join(unset)}: a worker needs {'it' if len(unset) == 1 else 'both'}")


def _parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(prog="imagefleet-worker", description=_DESCRIPTION, allow_abbrev=False)
    parser.usage = "imagefleet-worker --devices all|0,1|cpu:4 [-- options of `celery worker`]"
    what = "all, indexes or ids as CUDA_VISIBLE_DEVICES takes them, or cpu:4"
    parser.add_argument(OPTION, required=True, nargs="?", help=what)  # nothing, so that --help may follow it
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    choice = parser.parse_args(words[:cut]).devices
    if choice is None:
        parser.error(f"{OPTION} needs a value: {what}")
    options = words[cut + 1 :]
    if taken := [option for option in options if option.partition("=")[0] in _RESERVED]:
        parser.error(f"{', '.join(taken)}: {OPTION} decides that itself")
    return str(choice), options


def _launch(slot: DeviceSlot, index: int, settings: Settings, *, options: Sequence[str]) -> LaunchOptions:
    """How to start the worker number *index*; each has a port for metrics of its own."""
    port, threads = settings.metrics.port, settings.engine.threads
    own = {"IMAGEFLEET_METRICS_PORT": str(port and port + index), "IMAGEFLEET_WORKER_LOG_LABEL": slot.name}
    if threads:  # set by the operator: it wins over the share of a worker on the CPU
        own["IMAGEFLEET_ENGINE_THREADS"] = str(threads)
    return LaunchOptions(slot.name, env={**os.environ, **slot.env, **own}, options=options)


def _run(supervisor: Supervisor) -> None:
    """Poll *supervisor* until it is over; signals are handled between two polls."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()

    def receive(number: int, _frame: FrameType | None) -> None:
        received.put(number)

    for number in (*_DRAIN_SIGNALS, signal.SIGUSR1):
        signal.signal(number, receive)
    while not supervisor.is_over:
        supervisor.poll()
        try:
            number = received.get(timeout=_POLL_EVERY_S)
        except queue.Empty:
            continue
        if number in _DRAIN_SIGNALS:
            log.info("draining; the same signal again hands back running jobs", signal=signal.Signals(number).name)
            supervisor.drain()
        else:
            sys.stderr.write(f"{device_status.as_table(supervisor.statuses())}\n")
    supervisor.poll()
