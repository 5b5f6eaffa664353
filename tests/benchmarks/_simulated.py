"""A plug-in for workers (`celery worker -I tests.benchmarks._simulated`): their device and their S3 are made up.

Everything else is the worker as it is: Celery, the transport, leases, claims, attempts, encoding. The device needs
`SIMULATED_JOB_S` seconds and no CPU for a job, and the process imports neither torch nor boto3, so that two cores can
stand for many devices. What it did is written to the shared `Board` in the file `SIMULATED_BOARD`, at `SIMULATED_SLOT`.
"""

import os
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from PIL import Image
from tests.benchmarks._board import Board

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import Artifact
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.leases import Leases

_JOB_S = float(os.environ.get("SIMULATED_JOB_S", "0.5"))
_STEPS = 4
_slot = Board(os.environ["SIMULATED_BOARD"]).slot(int(os.environ["SIMULATED_SLOT"]))


class Engine:
    """A device for one job at a time, which lets the next one be fetched during the last step, as the real one does."""

    device_name = "simulated"
    revision = "simulated"
    joining = None

    def __init__(self) -> None:
        self._device = threading.Lock()
        self._counting = threading.Lock()
        self._wanted = 0
        self._on_capacity: Callable[[], None] = lambda: None

    @classmethod
    def load(cls, *_: Any, **__: Any) -> "Engine":
        """Ready at once."""
        return cls()

    def warm_up(self, _calibrations: object = None) -> None:
        """Nothing is cold."""

    def check(self, job: GenerationJob) -> GenerationJob:
        """Any job will do."""
        return job.model_copy(update={"width": 8, "height": 8, "steps": _STEPS})

    def foresee(self, _job: GenerationJob) -> list[Any]:
        """Nothing will be otherwise than asked for."""
        return []

    def render(self, job: GenerationJob, *, seed: int, on_step: Callable[[int, int], None], **_: Any) -> list[Any]:
        """Take the time of a job."""
        self._want(+1)
        with self._device:
            _slot.begin()
            for step in range(1, _STEPS + 1):
                if step == _STEPS:
                    self._want(-1)
                threading.Event().wait(_JOB_S / _STEPS)
                on_step(step, _STEPS)
            _slot.end()
        return [Image.new("RGB", (8, 8), (seed % 255, 0, 0))]

    def has_capacity(self, *, coming: int = 0, concurrency_limit: int | None = None) -> bool:
        """Whether the device is free for one more than *coming*, or will be after the step that runs."""
        return coming + self._wanted < 1

    def call_when_capacity(self, function: Callable[[], None]) -> None:
        """As the real one."""
        self._on_capacity = function

    def stats(self) -> dict[str, float]:
        """For the registry of workers."""
        return {"jobs": self._wanted}

    def _want(self, change: int) -> None:
        with self._counting:
            self._wanted += change
        self._on_capacity()

    def memory(self) -> dict[str, float]:
        """None."""
        return {}


class Storage:
    """Keeps nothing."""

    def __init__(self, *_: Any) -> None: ...

    def check(self) -> bool:
        """It is there, and knows `If-None-Match`."""
        return True

    def artifact_for(self, job_id: str, index: int, file: Any, *, attempt: str) -> Artifact:
        """Where it would be stored."""
        return Artifact(
            uri=f"s3://nowhere/{job_id}/{index}-{attempt}.png",
            media_type=f"image/{file.format}",
            format=file.format,
            width=file.width,
            height=file.height,
            seed=file.seed,
            sha256=file.sha256,
            size_bytes=len(file.data),
        )

    def upload(self, artifact: Artifact, _data: bytes, **_: Any) -> None:
        """It is stored."""

    def write_manifest(self, result: Any, **_: Any) -> Any:
        """It was the first."""
        return result

    def read_manifest(self, _job_id: str) -> None:
        """There is none."""

    def delete(self, _uris: Any) -> None:
        """There is nothing."""


def _put_in_place(name: str, **contents: Any) -> None:
    module = ModuleType(f"imagefleet_worker.{name}")
    vars(module).update(contents)
    sys.modules[module.__name__] = module


_claim = Leases.claim


def _counted_claim(self: Leases, queues: list[str]) -> Claimed | None:
    found = _claim(self, queues)
    _slot.claimed(empty=found is None)
    return found


_put_in_place("diffusion.engine", Engine=Engine)
_put_in_place("storage.bucket", Storage=Storage)
_put_in_place("group.startup", open_leader=None)  # no device group here; the real one imports torch
Leases.claim = _counted_claim
