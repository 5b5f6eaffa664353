"""Joining is allowed only after this model, on this device, made the same images alone and together."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, pixels

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching import collation
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.joining_proof import compare
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


def loaded(engines: Engines, mode: str = "merge", family: str = "sd") -> Engine:
    """An engine that has not warmed up."""
    model = ModelSettings(source=str(engines.source(family)), default_size="64x64")
    return Engine.load(model, EngineSettings.model_validate({"mode": mode, "threads": 1}))


def images(*shapes: int, seed: int = 0, far: float = 60.0) -> list[np.ndarray]:
    dice = np.random.default_rng(seed)
    return [dice.normal(128, far, (count, 8, 8, 3)).clip(0, 255).astype(np.int16) for count in shapes]


@pytest.mark.parametrize(
    ("change", "exact", "short", "proved"),
    [(0, 0, 1, True), (1, 0, 1, True), (2, 1, 0, False), (40, 1, 0, False)],
)
def test_what_is_close_enough_depends_on_the_number_format(
    change: int, exact: int, short: int, *, proved: bool
) -> None:
    alone = images(1, 2, 1)
    joined = [each.copy() for each in alone]
    joined[1][0, 3, 3, 0] += change
    assert compare(alone, joined, is_exact=False, is_float32=True).is_proved is proved
    assert compare(alone, joined, is_exact=True, is_float32=True).is_proved is (change == 0)
    assert compare(alone, joined, is_exact=False, is_float32=False).is_proved


def test_mixed_up_images_are_refused_in_every_number_format() -> None:
    alone = images(1, 1, 1, 1)
    for is_float32 in (True, False):
        found = compare(alone, alone[::-1], is_exact=False, is_float32=is_float32)
        assert not found.is_proved
        assert "differs by" in found.reason


def test_another_number_of_images_is_refused() -> None:
    found = compare(images(1, 2), images(1, 1), is_exact=False, is_float32=True)
    assert not found.is_proved
    assert "another number" in found.reason


def test_jobs_are_made_one_at_a_time_until_joining_is_proved(engines: Engines) -> None:
    engine = loaded(engines)
    jobs = [engine.check(GenerationJob(prompt="a fox", steps=3, seed=seed)) for seed in range(3)]
    engine.render_together(jobs)
    assert engine.stats()["calls"] == engine.stats()["forwards"] == 9
    engine.warm_up()
    before = engine.stats()["forwards"]
    engine.render_together(jobs)
    assert engine.stats()["forwards"] - before == 3
    engine.close()


def test_a_model_whose_rows_depend_on_their_neighbours_is_served_one_at_a_time(engines: Engines) -> None:
    """As the pipelines with perturbed attention do it: they cut a call into thirds, whoever's rows those are."""
    engine = loaded(engines)
    forward = engine.shared.denoiser.function

    def mixing(*args: Any, **kwargs: Any) -> Any:
        (output,) = forward(*args, **kwargs)
        return (output + 0.3 * (output.mean(0, keepdim=True) - output[:2].mean(0, keepdim=True)),)

    engine.shared.denoiser.function = mixing
    engine.warm_up()
    assert engine.joining is not None
    assert not engine.joining.is_proved
    assert "of 255" in engine.joining.reason
    assert engine.stats()["joining_refused"] == 1
    jobs = [engine.check(GenerationJob(prompt=f"fox {seed}", steps=3, seed=seed)) for seed in range(3)]
    alone = [pixels(engine, job) for job in jobs]
    together = engine.render_together(jobs)
    assert all((np.asarray(made[0]) == one[0]).all() for made, one in zip(together, alone, strict=True))
    engine.close()


def test_rows_are_compared_in_a_number_format_that_numpy_does_not_have(engines: Engines) -> None:
    """FLUX hands the position ids that all rows share over in the model's own format, on a GPU bfloat16."""
    model = ModelSettings(source=str(engines.source("flux")), default_size="64x64", dtype="bfloat16")
    engine = Engine.load(model, EngineSettings.model_validate({"mode": "reproducible", "threads": 1}))
    engine.warm_up()
    assert engine.calibration is not None
    assert engine.calibration.rows_keep_their_bits is not None
    engine.close()


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_decoder_that_stays_in_float32_takes_latents_in_float16(engines: Engines, family: str) -> None:
    """No pipeline but SDXL's casts them, and that one only for a decoder in float16."""
    model = ModelSettings(source=str(engines.source(family)), default_size="64x64", dtype="float16")
    engine = Engine.load(model, EngineSettings(threads=1))
    engine.warm_up()
    assert engine.pipe.vae.dtype == torch.float32
    assert engine.pipe.unet.dtype == torch.float16
    assert engine.joining is not None
    assert engine.joining.is_proved
    engine.close()


def test_in_mode_reproducible_jobs_get_forwards_of_their_own_where_a_place_changes_a_row(engines: Engines) -> None:
    engine = loaded(engines, "reproducible")
    forward = engine.shared.denoiser.function

    def by_place(*args: Any, **kwargs: Any) -> Any:
        (output,) = forward(*args, **kwargs)
        places = torch.linspace(1, 1.2, len(output))
        return (output * places[:, None, None, None],)

    engine.shared.denoiser.function = by_place
    engine.warm_up()
    assert engine.calibration is not None
    assert engine.calibration.rows_keep_their_bits is False
    assert engine.joining is not None
    assert engine.joining.is_proved, "their own forwards are the same, alone and together"
    assert engine.shared.admission.limit > 1, "jobs take turns all the same"
    jobs = [engine.check(GenerationJob(prompt=f"fox {seed}", steps=3, seed=seed)) for seed in range(3)]
    alone = [pixels(engine, job) for job in jobs]
    together = engine.render_together(jobs)
    assert all((np.asarray(made[0]) == one[0]).all() for made, one in zip(together, alone, strict=True))
    engine.close()


def test_outputs_that_cannot_be_split_are_made_alone_and_right(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines.fresh("sd")
    jobs = [engine.check(GenerationJob(prompt=f"fox {seed}", steps=3, seed=seed)) for seed in range(3)]
    alone = [pixels(engine, job) for job in jobs]

    def refuse(_output: Any, counts: Any) -> Any:
        raise collation.Unjoinable("an output that holds a cache")

    monkeypatch.setattr(collation, "split_output", refuse)
    together = engine.render_together(jobs)
    for made, one in zip(together, alone, strict=True):
        assert np.abs(np.asarray(made[0]).astype(np.int16) - one[0]).max() <= 1


def test_a_pipeline_with_a_scheduler_of_its_own_is_found_and_makes_jobs_one_at_a_time(engines: Engines) -> None:
    engine = loaded(engines)
    kind = engine.renderer._copies._kind
    inner = engine.renderer.schedulers.fresh(GenerationJob(prompt="a fox"))
    kind.scheduler = property(lambda _pipe: inner, lambda _pipe, _scheduler: None)  # as Kandinsky 2.2 Combined has it
    engine.warm_up()
    assert engine.shared.admission.limit == 1
    warnings = engine.foresee(GenerationJob(prompt="a fox", scheduler="EulerDiscreteScheduler"))
    assert [warning.code for warning in warnings] == ["field_without_effect", "joining_refused"]
    engine.close()
