"""Engines on models of real size, on a CUDA device. Without one, every test here is skipped."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from tests.support.models.real_pipelines import make
from tests.support.models.real_sizes import REAL, SMALL

from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.hardware.torch_device import free_memory
from imagefleet_worker.settings import EngineSettings, ModelSettings

#: `cpu` runs these tests on the same architectures scaled down: it proves the tests, not the device.
DEVICE = os.environ.get("IMAGEFLEET_TEST_GPU_DEVICE", "cuda")
SIZES = REAL if DEVICE == "cuda" else SMALL
FAMILIES = tuple(SIZES)

MakeEngine = Callable[..., Engine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the device, and the time to make a model."""
    is_there = DEVICE != "cuda" or torch.cuda.is_available()
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.timeout(600))
            if not is_there:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here: run `make gpu` on a machine with one"))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family in turn, so that one model at a time is on the device."""
    return request.param


@pytest.fixture(scope="module")
def pipe(family: str) -> Iterator[Any]:
    """The pipeline of *family*, in bfloat16 on CUDA."""
    device = torch.device(DEVICE)
    yield make(family, SIZES[family], device=device, dtype=torch.bfloat16 if DEVICE == "cuda" else torch.float32)
    free_memory()


@pytest.fixture
def engine_on() -> Iterator[MakeEngine]:
    """Engines on a given pipeline, which get it back when the test ends."""
    with ExitStack() as stack:

        def make_engine(pipe: Any, mode: str, *, size: str, jobs: int = 4) -> Engine:
            settings = EngineSettings.model_validate(
                {"mode": mode, "max_jobs": jobs, "max_rows": 2 * jobs, "max_pixels": 2**40, "reproducible_rows": 4}
            )
            engine = Engine(pipe, model=ModelSettings(default_size=size), engine=settings, revision="random")
            stack.callback(engine.close)
            engine.warm_up()
            return engine

        yield make_engine
