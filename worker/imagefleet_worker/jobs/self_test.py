"""The self-test: whether this worker can still make an image and store it, tried in the way of its jobs."""

from typing import Final, NamedTuple

import structlog

from imagefleet.contract.jobs import GenerationJob
from imagefleet.errors import ImageFleetError
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.errors import (
    DeviceFault,
    GenerationFailed,
    ImageNotFinite,
    OutOfMemory,
    StorageRefused,
)
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.jobs.uploader import Uploader

log = structlog.get_logger(__name__)

_DEVICE_ERRORS: Final = (DeviceFault, GenerationFailed, ImageNotFinite, OutOfMemory)


class Sickness(NamedTuple):
    """What this worker cannot do any more, and the exit code that says so."""

    code: ExitCode
    sentence: str


class SelfTest:
    """Tests one worker; safe beside running jobs."""

    def __init__(self, engine: Engine, uploader: Uploader, watchdog: Watchdog) -> None:
        """Make an image with *engine*, whose signs go to *watchdog*, and write through *uploader*."""
        self._engine = engine
        self._uploader = uploader
        self._watchdog = watchdog

    def run(self) -> Sickness | None:
        """What is wrong with this worker; None if nothing is. An S3 that is away is nobody's sickness."""
        try:
            self._make_image()
            self._uploader.check()
        except _DEVICE_ERRORS as error:
            return Sickness(ExitCode.DEVICE_FAULT, f"jobs fail here, and so does a small image: {error.message}")
        except StorageRefused as error:
            return Sickness(ExitCode.STORAGE_UNAVAILABLE, f"jobs fail here, and so does a test write: {error.message}")
        except ImageFleetError as error:
            log.warning("the self-test decides nothing", reason=error.message)
        return None

    def _make_image(self) -> None:
        job = self._engine.check(GenerationJob(prompt="warm up", steps=2))
        with self._watchdog.watching():
            self._engine.forget_texts()  # so that all parts of the model are tried
            self._engine.render(job, seed=0, on_step=lambda _done, _total: self._watchdog.beat())
