"""Engines on tiny pipelines, shared by the tests of the engine."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineSettings, ModelSettings, SpeedSettings
from tests.support.models.tiny_pipelines import FAMILIES, build

Pixels = np.ndarray[Any, np.dtype[np.int16]]


class Engines:
    """Builds each tiny pipeline once and loads each kind of engine once."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="imagefleet-tiny-")
        self._all: list[Engine] = []
        self._loaded: dict[tuple[str, str, int], Engine] = {}

    def source(self, family: str) -> Path:
        """The folder with the tiny pipeline of *family*."""
        assert family in FAMILIES
        folder = Path(self._folder.name) / family
        return folder if folder.exists() else build(family, folder)

    def tuned(self, family: str, **settings: object) -> Engine:
        """An engine with *settings* that nobody else uses."""
        model = ModelSettings(source=str(self.source(family)), default_size="64x64")
        engine = self._load(model, EngineSettings.model_validate({"threads": 1, **settings}), SpeedSettings())
        engine.warm_up()
        return engine

    def fresh(
        self, family: str, mode: str = "merge", *, max_jobs: int = 8, speed: SpeedSettings | None = None
    ) -> Engine:
        """An engine that nobody else uses."""
        model = ModelSettings(source=str(self.source(family)), default_size="64x64")
        settings = EngineSettings.model_validate({"mode": mode, "max_jobs": max_jobs, "threads": 1})
        engine = self._load(model, settings, speed or SpeedSettings())
        engine.warm_up()
        return engine

    def _load(self, model: ModelSettings, settings: EngineSettings, speed: SpeedSettings) -> Engine:
        self._all.append(Engine.load(model, settings, speed))
        return self._all[-1]

    def shared(self, family: str, mode: str = "merge", *, max_jobs: int = 8) -> Engine:
        """An engine that other tests use too: leave it as it is."""
        key = (family, mode, max_jobs)
        if key not in self._loaded:
            self._loaded[key] = self.fresh(family, mode, max_jobs=max_jobs)
        return self._loaded[key]

    def close(self) -> None:
        """End the engines and remove the files."""
        for engine in self._all:
            engine.close()
        self._folder.cleanup()


def go_on(done: int, total: int) -> None:
    """An `on_step` that lets the job go on."""


def pixels(engine: Engine, job: GenerationJob) -> Pixels:
    """The images of *job*, as whole numbers that can be subtracted: (images, height, width, 3)."""
    images = engine.render(engine.check(job), seed=job.seed or 0, on_step=go_on)
    return np.stack([np.asarray(image) for image in images]).astype(np.int16)


def joined(engine: Engine, jobs: list[GenerationJob]) -> list[Pixels]:
    """The images of all *jobs*, which come to the device in one moment, each from its own seed."""
    made = engine.render_together([engine.check(job) for job in jobs])
    return [np.stack([np.asarray(image) for image in images]).astype(np.int16) for images in made]


def together(engine: Engine, jobs: list[GenerationJob], *, threads: int) -> list[Pixels]:
    """The images of all *jobs*, made by *threads* threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda job: pixels(engine, job), jobs))
