"""The context: what is examined, and what it takes to do so, each made when a check first asks for it."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import redis

from imagefleet_worker.doctor.safetensors_files import find_folder
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import EngineMode, Settings
from imagefleet_worker.settings.conflicts import conflicts
from imagefleet_worker.storage.bucket import Storage

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine
    from imagefleet_worker.doctor.throughput_curve import Curve

#: So many jobs show whether joining changes an image.
LEAST_JOBS: Final = 4


class CheckContext:
    """The settings of a worker and the parts that they name. Leave it as a context to close what was opened."""

    def __init__(
        self,
        settings: Settings,
        *,
        rows: int,
        steps: int | None,
        size: str | None,
        out: Path | None,
        say: Callable[[str], None],
    ) -> None:
        """Open nothing yet. *rows* is the most that is measured, *steps* and *size* are those of the measured jobs."""
        self.settings = settings
        self.rows = rows
        self.steps = steps
        self.size = size
        self.out = out
        #: Tells whoever waits what is going on.
        self.say = say
        #: What `throughput` measured, for the plot.
        self.curve: Curve | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def folder(self) -> Path | None:
        """The model's files; None where they are not on this machine."""
        return find_folder(self.settings.model)

    @cached_property
    def redis(self) -> "redis.Redis":
        """A client as the worker's."""
        return self._stack.enter_context(connect(self.settings.redis))

    @cached_property
    def storage(self) -> Storage:
        """The bucket. Raises SettingsInvalid as `Storage`."""
        return Storage(self.settings.storage)

    @property
    def mode(self) -> EngineMode:
        """The mode that is examined: the worker's own, or what it would be if its jobs shared forwards."""
        mode = self.settings.engine.mode
        return EngineMode.MERGE if mode is EngineMode.OFF else mode

    @property
    def why_not_joined(self) -> str:
        """Why jobs cannot be examined together here; empty where they can."""
        settings = self.settings
        if settings.group.has_ranks:
            return "this worker is several processes that compute together, and the doctor is one"
        engine = settings.engine.model_copy(update={"mode": self.mode})
        return "; ".join(conflicts(engine, settings.speed, settings.group))

    @cached_property
    def engine(self) -> "Engine":
        """The model on its device, for up to *rows* jobs at once. Raises ModelUnavailable as `Engine.load`."""
        from imagefleet_worker.diffusion.engine import Engine  # noqa: PLC0415  # torch takes seconds; most checks do without

        self.say(f"loading {self.settings.model.source}")
        sharing = {"mode": self.mode, "max_rows": max(self.rows, LEAST_JOBS), "max_pixels": sys.maxsize}
        sharing["max_jobs"] = sharing["max_rows"]
        settings = self.settings
        shared = settings.engine.model_copy(update=sharing)
        engine = Engine.load(settings.model, shared, settings.speed, group=settings.group)
        self._stack.callback(engine.close)
        engine.warm_up()
        return engine
