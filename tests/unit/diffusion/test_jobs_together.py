"""Jobs on many threads do not harm each other, whatever becomes of one of them."""

import gc
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, go_on, pixels, together
from tests.support.models.mixed_jobs import mixed_jobs
from tests.support.models.tiny_pipelines import FAMILIES

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.errors import DeviceFault, GenerationFailed, ImageNotFinite, JobCanceled, OutOfMemory

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

#: Jobs for each family in the race; CI runs 1,000.
RACERS = int(os.environ.get("IMAGEFLEET_TEST_RACERS", "40"))
_KINDS = 8


@pytest.mark.timeout(120 + 3 * RACERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_many_jobs_on_eight_threads_equal_their_images_made_alone(engines: Engines, family):
    engine = engines.shared(family)
    # Short jobs of small images come and go often, and 1,000 of them take a minute.
    kinds = [job.model_copy(update={"width": 32, "height": 32}) for job in mixed_jobs(family, _KINDS, most_steps=3)]
    alone = [pixels(engine, job) for job in kinds]
    made = together(engine, [kinds[i % _KINDS] for i in range(RACERS)], threads=8)
    wrong = [i for i, image in enumerate(made) if np.abs(image - alone[i % _KINDS]).max() > 1]
    assert wrong == []


class Saboteur:
    """Put before the denoiser's own forward: does something to every forward with a row of the marked job."""

    def __init__(self, engine: Engine, sabotage: Any) -> None:
        self.forwards = 0
        self._forward = engine.shared.denoiser.function  # the device's side of the meeting point
        self._sabotage = sabotage
        engine.shared.denoiser.function = self

    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, **kwargs: Any) -> Any:
        self.forwards += 1
        output = self._forward(sample, timestep, **kwargs)
        marked = kwargs["encoder_hidden_states"][:, 5].abs().sum(-1) == MARK
        return self._sabotage(output, marked) if marked.any() else output


MARK = 12_345.0
VICTIM = GenerationJob(prompt="the marked one", steps=6, seed=99)


def _mark(engine: Engine) -> None:
    """Make the prompt embeddings of `VICTIM` recognisable in a joined forward."""
    encode = engine.pipe.encode_prompt

    def encode_and_mark(prompt: list[str], *args: Any, **kwargs: Any) -> Any:
        positive, negative = encode(prompt, *args, **kwargs)
        if prompt[0] == VICTIM.prompt:
            positive = positive.clone()
            positive[:, 5] = 0
            positive[:, 5, 0] = MARK
        return positive, negative

    engine.pipe.encode_prompt = encode_and_mark


def _fate_among_neighbours(
    engine: Engine, victim: GenerationJob = VICTIM, on_step: Any = go_on
) -> BaseException | None:
    """Run *victim* together with neighbours, assert that these are unharmed, and return what the victim raised."""
    neighbours = mixed_jobs("sd", 4, least_steps=4, most_steps=10)
    alone = [pixels(engine, job) for job in neighbours]
    with ThreadPoolExecutor(5) as pool:
        end = pool.submit(engine.render, engine.check(victim), seed=99, on_step=on_step)
        made = list(pool.map(lambda job: pixels(engine, job), neighbours))
    for image, expected in zip(made, alone, strict=True):
        assert np.abs(image - expected).max() <= 1
    return end.exception()


def _raise(error: BaseException) -> Any:
    def sabotage(_output: Any, _marked: torch.Tensor) -> Any:
        raise error

    return sabotage


def test_a_job_whose_forward_fails_is_blamed_alone(engines: Engines):
    engine = engines.fresh("sd")
    _mark(engine)
    Saboteur(engine, _raise(ValueError("a broken row")))
    error = _fate_among_neighbours(engine)
    assert isinstance(error, GenerationFailed)
    assert str(error).startswith("the pipeline raised ValueError: a broken row; ")


def test_a_job_with_values_that_are_no_numbers_fails_alone(engines: Engines):
    engine = engines.fresh("sd")
    _mark(engine)

    def poison(output: tuple[torch.Tensor], marked: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.where(marked[:, None, None, None], torch.nan, output[0]),)

    Saboteur(engine, poison)
    assert isinstance(_fate_among_neighbours(engine), ImageNotFinite)


def test_a_job_too_big_for_the_device_is_tried_image_by_image_and_then_fails_alone(engines: Engines):
    engine = engines.fresh("sd")
    _mark(engine)
    Saboteur(engine, _raise(torch.OutOfMemoryError("no memory left")))
    error = _fate_among_neighbours(engine)
    assert isinstance(error, OutOfMemory)
    assert "1 x 64x64" in str(error)


def test_a_failed_forward_leaves_no_tensors_behind(engines: Engines):
    """Without the garbage collector, which comes late: on a full device the next job needs their memory."""
    engine = engines.fresh("sd")
    made: list[weakref.ref[torch.Tensor]] = []

    def full(*_args: Any, **_kwargs: Any) -> None:
        activation = torch.zeros(8)
        made.append(weakref.ref(activation))
        raise torch.OutOfMemoryError("no memory left")

    engine.shared.denoiser.function = full
    jobs = [engine.check(GenerationJob(prompt=f"fox {seed}", steps=3, seed=seed)) for seed in range(2)]
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(OutOfMemory):
            engine.render_together(jobs)
        engine.shared.loop.call(lambda: None)  # both have ended
        assert len(made) == 3
        assert all(tensor() is None for tensor in made)
    finally:
        gc.enable()


def test_images_that_do_not_fit_together_are_made_one_by_one(engines: Engines):
    engine = engines.fresh("sd")
    job = GenerationJob(prompt=VICTIM.prompt, steps=3, seed=3, num_images=3)
    _mark(engine)
    expected = pixels(engine, job)

    def full(output: Any, marked: torch.Tensor) -> Any:
        if marked.sum() > 1:
            raise torch.OutOfMemoryError("no memory left")
        return output

    Saboteur(engine, full)
    assert np.abs(pixels(engine, job) - expected).max() <= 1


def test_a_broken_device_is_told_apart(engines: Engines):
    engine = engines.fresh("sd")
    _mark(engine)
    saboteur = Saboteur(engine, _raise(torch.AcceleratorError("CUDA error: device-side assert triggered", 710)))
    with pytest.raises(DeviceFault, match="device-side assert"):
        engine.render(engine.check(VICTIM), seed=1, on_step=go_on)
    assert saboteur.forwards == 1


def test_a_canceled_job_stops_within_a_step_and_decodes_nothing(engines: Engines):
    engine = engines.fresh("sd")
    steps: list[int] = []
    decoded: list[int] = []
    decoder = engine.shared.decoders[0]
    decode = decoder.function
    decoder.function = lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs)

    def cancel(done: int, _total: int) -> None:
        steps.append(done)
        if done == 3:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled, match="enough"):
        engine.render(engine.check(VICTIM), seed=1, on_step=cancel)
    assert (steps, decoded) == ([1, 2, 3], [])
    steps.clear()
    assert isinstance(_fate_among_neighbours(engine, on_step=cancel), JobCanceled)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("mode", ["off", "merge", "reproducible"])
def test_a_job_of_a_pipeline_that_reports_no_steps_is_canceled_within_one(engines: Engines, mode):
    engine = engines.fresh("sd", mode)
    engine.traits = engine.renderer._traits = replace(engine.traits, has_step_callback=False)
    calls: list[int] = []
    before = engine.stats()["calls"]

    def cancel() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled, match="enough"):
        engine.render(engine.check(VICTIM), seed=1, on_step=go_on, on_call=cancel)
    assert engine.stats()["calls"] - before == 2
    assert engine.has_capacity()


def test_what_on_step_raises_comes_out_unchanged(engines: Engines):
    own = KeyError("mine")

    def stop(_done: int, _total: int) -> None:
        raise own

    with pytest.raises(KeyError) as caught:
        engines.shared("sd").render(engines.shared("sd").check(VICTIM), seed=1, on_step=stop)
    assert caught.value is own


def test_a_pipeline_that_reports_its_steps_is_stopped_at_a_step_only(engines: Engines) -> None:
    """The ranks of a group agree at each step; one that stopped at a call would leave the others waiting in it."""
    engine = engines.shared("flux")

    def never() -> None:
        raise AssertionError("asked at a call")

    engine.render(engine.check(VICTIM), seed=1, on_step=go_on, on_call=never)
