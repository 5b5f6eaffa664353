"""On the device too, a job's images do not depend on the jobs beside it; and they survive a full device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests.gpu.conftest import DEVICE, SIZES, MakeEngine
from tests.support.models.engines import Pixels
from tests.support.models.real_pipelines import make

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.doctor import sample_jobs
from imagefleet_worker.errors import OutOfMemory

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # torch arrays in numpy
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),  # torch says so once
]

COUNT = 4
#: Of the distance between images of different seeds: more would be seen, and mixed-up rows are far above.
CLOSE = 0.1


def made(engine: Engine, family: str) -> list[GenerationJob]:
    """Jobs that differ in seed, prompt, guidance and steps."""
    side = SIZES[family].side
    return sample_jobs.mixed(engine.check(GenerationJob(prompt="a red fox", width=side, height=side, steps=3)), COUNT)


def pixels(engine: Engine, job: GenerationJob, on_step: Callable[[int, int], None] = lambda _d, _t: None) -> Pixels:
    image = engine.render(job, seed=job.seed or 0, on_step=on_step)[0]
    return np.asarray(image).astype(np.int16)


def at_once(engine: Engine, some: list[GenerationJob]) -> list[Pixels]:
    """All come to the device in one moment, so that their forwards can be joined."""
    return [np.asarray(images[0]).astype(np.int16) for images in engine.render_together(some)]


def size_of(family: str) -> str:
    """The size that the model is made for."""
    return f"{SIZES[family].side}x{SIZES[family].side}"


def share(alone: list[Pixels], joined: list[Pixels]) -> float:
    """The mean difference, as a part of that between images of different seeds."""
    one, other = np.stack(alone), np.stack(joined)
    return float(np.abs(one - other).mean() / np.abs(one - np.roll(one, 1, axis=0)).mean())


def test_joined_images_are_close_to_those_made_alone(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge", size=size_of(family))
    some = made(engine, family)
    alone = [pixels(engine, job) for job in some]
    before = engine.stats()
    joined = at_once(engine, some)
    after = engine.stats()
    assert after["forwards"] - before["forwards"] < after["calls"] - before["calls"], "nothing was joined"
    assert engine.joining is not None
    assert engine.joining.is_proved
    assert share(alone, joined) < CLOSE


@pytest.mark.skipif(DEVICE != "cuda", reason="only a CUDA device works on its own time")
def test_nothing_waits_for_the_device_between_the_first_step_and_the_last(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge", size=size_of(family))
    job = made(engine, family)[0].model_copy(update={"steps": 6})
    engine.render(job, seed=1, on_step=lambda _done, _total: None)

    def watch(done: int, total: int) -> None:
        if done == 1:
            torch.cuda.set_sync_debug_mode("error")
        if done == total:
            torch.cuda.set_sync_debug_mode("default")

    try:
        engine.render(job, seed=1, on_step=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(DEVICE != "cuda", reason="only a CUDA device has graphs")
def test_a_job_alone_is_replayed_from_cuda_graphs_with_the_same_image(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge", size=size_of(family))
    job = made(engine, family)[0]
    graphs = engine.shared.runner.graphs
    assert graphs is not None
    replayed = pixels(engine, job)
    if family == "flux-schnell":  # the device takes longer than the launch: there is nothing to gain
        return
    assert graphs.replays >= job.steps
    graphs.is_open = False
    assert np.abs(replayed - pixels(engine, job)).max() <= 1


def test_reproducible_makes_the_same_bytes_alone_joined_first_or_last(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "reproducible", size=size_of(family))
    some = made(engine, family)
    alone = [pixels(engine, job) for job in some]
    for order in (some, some[::-1]):
        again = dict(zip([job.seed for job in order], at_once(engine, order), strict=True))
        assert all((again[job.seed] == image).all() for job, image in zip(some, alone, strict=True))


def test_merge_in_float32_is_within_one_of_255(engine_on: MakeEngine, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # which is not float32
    pipe = make("sd15", SIZES["sd15"], device=torch.device(DEVICE), dtype=torch.float32)
    engine = engine_on(pipe, "merge", size=size_of("sd15"))
    some = made(engine, "sd15")
    alone = [pixels(engine, job) for job in some]
    assert np.abs(np.stack(alone) - np.stack(at_once(engine, some))).max() <= 1


@pytest.mark.skipif(DEVICE != "cuda", reason="only a CUDA device can be full")
def test_a_full_device_costs_the_job_that_is_too_large_and_nothing_else(engine_on: MakeEngine):
    pipe = make("sd15", SIZES["sd15"], device=torch.device(DEVICE), dtype=torch.bfloat16)
    engine = engine_on(pipe, "merge", size=size_of("sd15"))
    small = engine.check(GenerationJob(prompt="a red fox", width=512, height=512, steps=3, seed=1))
    large = small.model_copy(update={"width": 2048, "height": 2048, "num_images": 4})
    before = pixels(engine, small)
    torch.cuda.empty_cache()
    memory = engine.memory()  # "reserved" now also has the memory of CUDA graphs, which jobs without one cannot use
    limit = (memory["reserved"] + 1.5 * 2**30) / memory["total"]  # enough for the small one alone
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


def test_the_engine_tells_which_device_it_is_and_how_much_memory_it_uses(pipe, family, engine_on: MakeEngine):
    engine = engine_on(pipe, "merge", size=size_of(family))
    if DEVICE == "cuda":
        assert engine.device_name == torch.cuda.get_device_name()
        memory = engine.memory()
        weights = sum(each.numel() * each.element_size() for part in (pipe.vae,) for each in part.parameters())
        assert weights < memory["allocated"] <= memory["reserved"] <= memory["total"]
    else:
        assert engine.device_name.startswith("cpu")
