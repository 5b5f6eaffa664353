"""What each mode promises about images, for jobs that differ in all they can differ in."""

import threading
from typing import Any

import numpy as np
import pytest
from tests.support.models.engines import Engines, go_on, pixels, together
from tests.support.models.mixed_jobs import mixed_jobs
from tests.support.models.tiny_pipelines import FAMILIES

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.job_run import job_run

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


@pytest.mark.parametrize("family", FAMILIES)
def test_merge_makes_the_images_of_the_bare_pipeline_within_one_of_255(engines: Engines, family):
    jobs = mixed_jobs(family, 6, most_steps=12)
    bare = [pixels(engines.shared(family, "off"), job) for job in jobs]
    engine = engines.shared(family, "merge")
    before = engine.stats()
    for alone, joined in zip(bare, together(engine, jobs, threads=6), strict=True):
        assert np.abs(alone - joined).max() <= 1
    after = engine.stats()
    assert after["forwards"] - before["forwards"] < after["calls"] - before["calls"], "nothing was joined"


@pytest.mark.parametrize("family", FAMILIES)
def test_reproducible_makes_the_same_bytes_alone_joined_first_or_last(engines: Engines, family):
    jobs = mixed_jobs(family, 4)
    engine = engines.shared(family, "reproducible")
    alone = [pixels(engine, job) for job in jobs]
    for order in (jobs, jobs[::-1]):
        made = dict(zip([job.seed for job in order], together(engine, order, threads=4), strict=True))
        assert all((made[job.seed] == image).all() for job, image in zip(jobs, alone, strict=True))


def test_reproducible_holds_where_a_job_has_more_rows_than_a_forward(engines: Engines):
    engine = engines.shared("sd", "reproducible")
    big = GenerationJob(prompt="a fox", steps=3, num_images=6, seed=1)
    alone = pixels(engine, big)
    jobs = [big, *mixed_jobs("sd", 3)]
    assert (together(engine, jobs, threads=4)[0] == alone).all()


def test_off_runs_one_job_after_the_other(engines: Engines):
    engine = engines.shared("sd", "off")
    jobs = mixed_jobs("sd", 4)
    running: set[str] = set()
    most: list[int] = []

    def render(job: GenerationJob) -> None:
        def on_step(done: int, total: int) -> None:
            running.add(name)
            most.append(len(running))
            if done == total:
                running.discard(name)

        name = str(job.seed)
        engine.render(engine.check(job), seed=1, on_step=on_step)

    threads = [threading.Thread(target=render, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert max(most) == 1


@pytest.mark.parametrize(("mode", "room_at_start"), [("off", False), ("merge", True)])
def test_has_capacity_says_when_the_device_could_use_one_more(engines: Engines, mode, room_at_start):
    engine = engines.fresh("sd", mode, max_jobs=2)
    room: list[bool] = []
    assert engine.has_capacity()
    job = engine.check(GenerationJob(prompt="a fox", steps=4))
    engine.render(job, seed=1, on_step=lambda _done, _total: room.append(engine.has_capacity()))
    # mode off has room again from the moment that only one step is left
    assert room == [room_at_start, room_at_start, True, True]
    assert engine.has_capacity()


def test_a_job_with_a_limit_of_one_is_alone_on_the_device(engines: Engines):
    engine = engines.fresh("sd")
    job = engine.check(GenerationJob(prompt="a fox", steps=6))
    beside: list[float] = []
    others: list[threading.Thread] = []

    def start_others(done: int, _total: int) -> None:
        if done == 1:
            for options in ({"concurrency_limit": 1, "on_step": note}, {"on_step": go_on}):
                others.append(threading.Thread(target=engine.render, args=(job,), kwargs={"seed": 1, **options}))
                others[-1].start()

    def note(_done: int, _total: int) -> None:
        beside.append(engine.stats()["jobs"])

    engine.render(job, seed=1, on_step=start_others)
    for thread in others:
        thread.join()
    assert beside == [1] * 6


def test_a_newcomer_is_encoded_before_the_next_forward(engines: Engines):
    """So that the forward is as full as it can be."""
    engine = engines.fresh("sd", max_jobs=4)
    rows: list[int] = []
    forward = engine.shared.denoiser.function

    def note(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(args[0] if args else kwargs["sample"]))
        return forward(*args, **kwargs)

    engine.shared.denoiser.function = note
    job = engine.check(GenerationJob(prompt="a fox", steps=6))
    newcomers = [job_run(engine.renderer, job, [seed], rows_per_image=2) for seed in (2, 3)]

    def let_them_come(done: int, _total: int) -> None:
        if done == 2:
            engine.shared.loop.submit(newcomers)

    engine.render(job, seed=1, on_step=let_them_come)
    for run in newcomers:
        run.result()
    assert rows == [2, 2, 6, 6, 6, 6, 4, 4]
