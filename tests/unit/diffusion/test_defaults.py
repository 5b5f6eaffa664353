"""A worker whose own defaults would fail every job does not start."""

import pytest
from tests.support.models.engines import Engines

from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.errors import InvalidJob, SettingsInvalid
from imagefleet_worker.diffusion.defaults import check_defaults, within_limits
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineSettings, ModelSettings
from imagefleet_worker.settings.conflicts import defaults_above_limits

LIMITS = JobLimits()


@pytest.mark.parametrize(
    ("family", "settings", "limits", "sentence"),
    [
        ("flux", {"default_size": "72x72"}, {}, "width: 72 is not a multiple of 16, which FluxPipeline needs"),
        ("sd", {"default_size": "64x64"}, {"max_side": 32}, "width: is 64, at most 32"),
        (
            "sd",
            {"default_steps": 1001},
            {"max_steps": 2000},
            r"steps: DDIMScheduler cannot make 1001; the nearest .* is 1000",
        ),
        ("sd", {}, {"max_steps": 20}, "steps: is 50, at most 20"),
    ],
)
def test_defaults_that_every_job_would_fail_with_are_settings_that_are_invalid(
    engines: Engines, family: str, settings: dict[str, object], limits: dict[str, int], sentence: str
) -> None:
    model = ModelSettings.model_validate({"source": str(engines.source(family)), **settings})
    engine = Engine.load(model, EngineSettings(threads=1))
    try:
        with pytest.raises(SettingsInvalid, match=f"{sentence}.*IMAGEFLEET_MODEL_DEFAULT_SIZE"):
            check_defaults(engine, JobLimits(**limits))
    finally:
        engine.close()


def test_the_defaults_of_the_tiny_models_are_fine(engines: Engines) -> None:
    check_defaults(engines.shared("flux"), LIMITS)


def test_a_side_that_is_left_open_counts_for_the_limits(engines: Engines) -> None:
    whole = engines.shared("sd").check(GenerationJob(prompt="a fox", width=4096))
    with pytest.raises(InvalidJob, match="width x height is 262,144 pixels, at most 200,000"):
        within_limits(whole, JobLimits(max_pixels=200_000))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"default_size": "68x68"}, "width: must be a multiple of 8; it is 68"),
        ({"default_size": "8192x64"}, "width: is 8,192, at most 4,096"),
        ({"default_size": "4096x4096"}, "width x height"),
        ({"default_steps": 500}, "steps: is 500, at most 200"),
        ({"default_guidance_scale": 101.0}, "guidance_scale"),
    ],
)
def test_defaults_above_the_limits_are_found_without_a_model(settings: dict[str, object], sentence: str) -> None:
    (problem,) = defaults_above_limits(ModelSettings.model_validate(settings), LIMITS)
    assert sentence in problem
    assert defaults_above_limits(ModelSettings(default_size="64x64", default_steps=4), LIMITS) == []
