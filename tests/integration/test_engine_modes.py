"""What each mode promises about images, for jobs that differ in all they can differ in."""

import threading

import numpy as np
import pytest
from tests.support.engines import Engines, go_on, pixels, together
from tests.support.mixed_jobs import mixed_jobs
from tests.support.tiny_pipelines import FAMILIES
from tests.support.waiting import wait_until

from imagefleet.jobs import GenerationJob
from imagefleet_worker.rendering import OnStep

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
def test_has_room_says_when_the_device_could_use_one_more(engines: Engines, mode, room_at_start):
    engine = engines.fresh("sd", mode, max_jobs=2)
    room: list[bool] = []
    assert engine.has_room()
    job = engine.check(GenerationJob(prompt="a fox", steps=4))
    engine.render(job, seed=1, on_step=lambda _done, _total: room.append(engine.has_room()))
    # mode off has room again from the moment that only one step is left
    assert room == [room_at_start, room_at_start, True, True]
    assert engine.has_room()


def test_an_exclusive_job_is_alone_on_the_device(engines: Engines):
    engine = engines.fresh("sd")
    started, go = threading.Event(), threading.Event()
    others: list[float] = []

    def hold(_done: int, _total: int) -> None:
        started.set()
        go.wait(10)

    def alone(_done: int, _total: int) -> None:
        others.append(engine.stats()["jobs"])

    job = engine.check(GenerationJob(prompt="a fox", steps=2))
    first = threading.Thread(target=engine.render, args=(job,), kwargs={"seed": 1, "on_step": hold})
    second = threading.Thread(
        target=engine.render, args=(job,), kwargs={"seed": 1, "on_step": alone, "exclusive": True}
    )
    first.start()
    assert started.wait(10)
    second.start()
    wait_until(lambda: not engine.has_room())
    assert not others
    third = threading.Thread(target=engine.render, args=(job,), kwargs={"seed": 1, "on_step": go_on})
    third.start()
    go.set()
    for thread in (first, second, third):
        thread.join()
    assert others == [1, 1]


def test_a_job_that_waits_for_the_device_has_its_prompt_encoded(engines: Engines):
    """So that the forward after another's last is as full as it was."""
    engine = engines.fresh("sd", max_jobs=2)
    encoded: list[str] = []
    encode = engine._pipe.encode_prompt
    engine._pipe.encode_prompt = lambda prompt, *args, **kwargs: (
        encoded.append(prompt[0]) or encode(prompt, *args, **kwargs)
    )
    held, release = threading.Semaphore(0), threading.Event()
    steps: list[int] = []

    def hold(_done: int, _total: int) -> None:
        held.release()
        assert release.wait(30)

    def render(prompt: str, on_step: OnStep) -> None:
        engine.render(engine.check(GenerationJob(prompt=prompt, steps=2)), seed=1, on_step=on_step)

    threads = [threading.Thread(target=render, args=(f"held {i}", hold)) for i in range(2)]
    threads.append(threading.Thread(target=render, args=("waits", lambda done, _total: steps.append(done))))
    for thread in threads[:2]:
        thread.start()
    for _ in range(2):
        assert held.acquire(timeout=30)
    threads[2].start()
    wait_until(lambda: "waits" in encoded)
    assert engine.stats()["jobs"] == 2
    assert steps == []
    release.set()
    for thread in threads:
        thread.join(30)
    assert steps == [1, 2]
