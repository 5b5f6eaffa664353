"""On the device too, a job's images do not depend on the jobs beside it; and they survive a full device."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests.gpu.conftest import DEVICE, SIZES, MakeEngine
from tests.support.engines import Pixels
from tests.support.real_pipelines import make

from imagefleet.jobs import GenerationJob
from imagefleet_worker.doctor import jobs
from imagefleet_worker.engine import Engine
from imagefleet_worker.errors import OutOfMemory

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

COUNT = 4
#: Of the distance between images of different seeds: more would be seen, and mixed-up rows are far above.
CLOSE = 0.1


def made(engine: Engine, family: str) -> list[GenerationJob]:
    """Jobs that differ in seed, prompt, guidance and steps."""
    side = SIZES[family].side
    return jobs.different(engine.check(GenerationJob(prompt="a red fox", width=side, height=side, steps=3)), COUNT)


def pixels(engine: Engine, job: GenerationJob, on_step: Callable[[int, int], None] = lambda _d, _t: None) -> Pixels:
    image = engine.render(job, seed=job.seed or 0, on_step=on_step)[0]
    return np.asarray(image).astype(np.int16)


def at_once(engine: Engine, some: list[GenerationJob]) -> list[Pixels]:
    """All after their first step together, so that the rest of their forwards can be joined."""
    start = threading.Barrier(len(some))

    def on_step(done: int, _total: int) -> None:
        if done == 1:
            start.wait(120)

    with ThreadPoolExecutor(len(some)) as pool:
        return list(pool.map(lambda job: pixels(engine, job, on_step), some))


def share(alone: list[Pixels], joined: list[Pixels]) -> float:
    """The mean difference, as a part of that between images of different seeds."""
    one, other = np.stack(alone), np.stack(joined)
    return float(np.abs(one - other).mean() / np.abs(one - np.roll(one, 1, axis=0)).mean())


def test_joined_images_are_close_to_those_made_alone(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge")
    some = made(engine, family)
    alone = [pixels(engine, job) for job in some]
    before = engine.stats()
    joined = at_once(engine, some)
    after = engine.stats()
    assert after["forwards"] - before["forwards"] < after["calls"] - before["calls"], "nothing was joined"
    assert share(alone, joined) < CLOSE


def test_reproducible_makes_the_same_bytes_alone_joined_first_or_last(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "reproducible")
    some = made(engine, family)
    alone = [pixels(engine, job) for job in some]
    for order in (some, some[::-1]):
        again = dict(zip([job.seed for job in order], at_once(engine, order), strict=True))
        assert all((again[job.seed] == image).all() for job, image in zip(some, alone, strict=True))


def test_merge_in_float32_is_within_one_of_255(engine_on: MakeEngine, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # which is not float32
    pipe = make("sd15", SIZES["sd15"], device=torch.device(DEVICE), dtype=torch.float32)
    engine = engine_on(pipe, "merge")
    some = made(engine, "sd15")
    alone = [pixels(engine, job) for job in some]
    assert np.abs(np.stack(alone) - np.stack(at_once(engine, some))).max() <= 1


@pytest.mark.skipif(DEVICE != "cuda", reason="only a CUDA device can be full")
def test_a_full_device_costs_the_job_that_is_too_large_and_nothing_else(engine_on: MakeEngine):
    pipe = make("sd15", SIZES["sd15"], device=torch.device(DEVICE), dtype=torch.bfloat16)
    engine = engine_on(pipe, "merge")
    small = engine.check(GenerationJob(prompt="a red fox", width=512, height=512, steps=3, seed=1))
    large = small.model_copy(update={"width": 2048, "height": 2048, "num_images": 4})
    before = pixels(engine, small)
    memory = engine.memory()
    limit = (memory["allocated"] + 1.5 * 2**30) / memory["total"]  # enough for the small one alone
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        with pytest.raises(OutOfMemory, match="ask for less"):
            engine.render(large, seed=1, on_step=lambda _done, _total: None)
        assert (pixels(engine, small) == before).all()
        with ThreadPoolExecutor(COUNT) as pool:  # joined, they may not fit; then each is tried alone
            assert all(image.shape == before.shape for image in pool.map(pixels, [engine] * COUNT, [small] * COUNT))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (pixels(engine, small) == before).all()


def test_the_engine_tells_which_device_it_is_and_how_much_memory_it_uses(pipe, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge")
    if DEVICE == "cuda":
        assert engine.device_name == torch.cuda.get_device_name()
        memory = engine.memory()
        weights = sum(each.numel() * each.element_size() for part in (pipe.vae,) for each in part.parameters())
        assert weights < memory["allocated"] <= memory["reserved"] <= memory["total"]
    else:
        assert engine.device_name.startswith("cpu")
