"""An image that is not what was asked for comes with a warning that says so, and a strict job has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.models.engines import Engines, go_on, pixels
from tests.support.models.tiny_pipelines import FAMILIES, flux, save
from tests.support.models.tiny_pipelines.safety import sd_with_checker

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.errors import JobRejected, NotAsAsked
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # torch arrays in numpy
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # the same, in KDPM2
]

LONG = "ten letters" * 200
#: What each encoder reads of it, in tokens. The tokenizers have a token for each letter.
READ = {
    "sd": {"text_encoder": 77},
    "sdxl": {"text_encoder": 77, "text_encoder_2": 77},
    "sd3": {"text_encoder": 77, "text_encoder_2": 77, "text_encoder_3": 256},
    "flux": {"text_encoder": 77, "text_encoder_2": 512},
    "flux2-klein": {"text_encoder": 512},
    "qwen-image": {"text_encoder": 34 + 512},
}


def made(engine: Engine, job: GenerationJob) -> list[JobWarning]:
    """The warnings of *job*, as its result would have them."""
    warnings = engine.foresee(job)
    engine.render(engine.check(job), seed=1, on_step=go_on, on_warning=warnings.append)
    return warnings


def loaded(pipe: Callable[[], Any], folder: Path, **settings: object) -> Engine:
    """An engine on *pipe*; close it."""
    model = ModelSettings.model_validate({"source": str(save(pipe, folder)), "default_size": "64x64", **settings})
    return Engine.load(model, EngineSettings(threads=1))


@pytest.mark.parametrize("family", READ)
def test_what_is_cut_from_a_prompt_is_said_for_each_encoder_and_is_what_changes_nothing(
    engines: Engines, family: str
) -> None:
    engine = engines.shared(family)
    job = GenerationJob(prompt=LONG, steps=1, seed=1)

    warnings = [each for each in made(engine, job) if each.code == "prompt_truncated"]

    assert {each.detail["encoder"]: each.detail["limit"] for each in warnings} == READ[family]
    assert all(each.field == "prompt" and each.image is None for each in warnings)
    ends = [int(str(each.detail["cut_at"])) for each in warnings]
    assert [LONG[end:][:500] for end in ends] == [each.detail["cut"] for each in warnings]
    image, end = pixels(engine, job), max(ends)
    beyond = job.model_copy(update={"prompt": LONG[:end] + "something else" * 20})
    within = job.model_copy(update={"prompt": LONG[: end - 1] + "Z" + LONG[end:]})
    assert (pixels(engine, beyond) == image).all()
    assert (pixels(engine, within) != image).any()


@pytest.mark.parametrize(("family", "reader"), [("flux", "text_encoder_2"), ("sd3", "text_encoder_3")])
def test_what_one_encoder_cuts_and_another_reads_is_said_and_lost_to_nobody(
    engines: Engines, family: str, reader: str
) -> None:
    """CLIP ends at 77 tokens, and T5 reads on: no reason to refuse a strict job."""
    engine = engines.shared(family)
    prompt = LONG[:200]
    job = GenerationJob(prompt=prompt, steps=1, seed=1, strict=True)

    warnings = made(engine, job)

    cut = {encoder: limit for encoder, limit in READ[family].items() if encoder != reader}
    assert {each.detail["encoder"]: each.detail["limit"] for each in warnings} == cut
    assert [each.detail["read_by"] for each in warnings] == [[reader]] * len(cut)
    assert all(each.message.endswith(f", but {reader} (T5EncoderModel) did") for each in warnings)
    other = job.model_copy(update={"prompt": prompt[:-1] + "Z"})
    assert (pixels(engine, other) != pixels(engine, job)).any(), "it was read"
    beyond = job.model_copy(update={"prompt": LONG})
    with pytest.raises(NotAsAsked, match=rf"{reader} .* did not read"):
        made(engine, beyond)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_short_prompt_and_its_guidance_have_no_warnings(engines: Engines, family: str) -> None:
    job = GenerationJob(prompt="a fox", steps=2, guidance_scale=4.0, num_images=2)
    if family != "flux2-klein":
        job = job.model_copy(update={"negative_prompt": "an ugly bottle"})
    assert made(engines.shared(family), job) == []


def test_a_prompt_that_just_fits_is_read_whole(engines: Engines) -> None:
    engine = engines.shared("sd")
    assert made(engine, GenerationJob(prompt="x" * 75, steps=1)) == []
    (warning,) = made(engine, GenerationJob(prompt="x" * 75 + "y", steps=1))
    assert warning.message == "prompt: text_encoder (CLIPTextModel) reads 77 tokens; it did not read 'y'"
    assert warning.detail["cut_tokens"] == 1


def test_a_negative_prompt_is_read_as_far_as_the_prompt(engines: Engines) -> None:
    (warning,) = made(engines.shared("sd"), GenerationJob(prompt="a fox", negative_prompt=LONG, steps=1))
    assert (warning.code, warning.field) == ("prompt_truncated", "negative_prompt")


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "qwen-image", "z-image"])
def test_a_negative_prompt_without_guidance_is_without_effect_and_the_result_says_so(
    engines: Engines, family: str
) -> None:
    engine = engines.shared(family)
    job = GenerationJob(prompt="a fox", negative_prompt="old tiles", guidance_scale=0.0, steps=1, seed=1)

    (warning,) = made(engine, job)

    assert (warning.code, warning.field) == ("field_without_effect", "negative_prompt")
    other = job.model_copy(update={"negative_prompt": "seven trams"})
    assert (pixels(engine, job) == pixels(engine, other)).all()


def test_the_guidance_of_a_distilled_model_is_without_effect_and_the_result_says_so(tmp_path: Path) -> None:
    engine = loaded(lambda: flux.flux(shape=flux.SHAPE | {"guidance_embeds": False}), tmp_path)
    engine.warm_up()
    job = GenerationJob(prompt="a fox", guidance_scale=7.0, steps=1)

    (warning,) = made(engine, job)

    assert (warning.code, warning.field) == ("field_without_effect", "guidance_scale")
    assert made(engine, job.model_copy(update={"guidance_scale": None})) == []
    assert made(engine, job.model_copy(update={"negative_prompt": "tiles"})) == [], "that guidance is another one"
    before = engine.stats()["forwards"]
    with pytest.raises(NotAsAsked, match="guidance_scale: this model makes the same image with any"):
        made(engine, job.model_copy(update={"strict": True}))
    assert engine.stats()["forwards"] == before, "known before the device is used"
    engine.close()


def test_a_strict_job_whose_prompt_is_cut_ends_at_its_first_step(engines: Engines) -> None:
    engine = engines.shared("sd")
    job = GenerationJob(prompt=LONG, steps=20, strict=True)
    before = engine.stats()["forwards"]

    with pytest.raises(NotAsAsked, match=r"text_encoder .* did not read") as caught:
        made(engine, job)

    assert engine.stats()["forwards"] - before <= 2
    assert [warning.code for warning in caught.value.warnings] == ["prompt_truncated"]
    assert made(engine, job.model_copy(update={"prompt": "a fox"})) == []


def test_a_scheduler_that_the_pipeline_ignores_is_said_also_without_a_warm_up(engines: Engines) -> None:
    model = ModelSettings(source=str(engines.source("sd")), default_size="64x64")
    engine = Engine.load(model, EngineSettings(threads=1))
    inner = engine.renderer.schedulers.fresh(GenerationJob(prompt="a fox"))
    kind = engine.renderer._copies._kind
    kind.scheduler = property(lambda _pipe: inner, lambda _pipe, _scheduler: None)  # as Kandinsky 2.2 Combined has it
    job = GenerationJob(prompt="a fox", scheduler="EulerDiscreteScheduler", steps=1)

    before_warm_up = made(engine, job)
    engine.warm_up()
    after = made(engine, job)

    for warnings in (before_warm_up, after):
        assert ("field_without_effect", "scheduler") in {(each.code, each.field) for each in warnings}
    assert "joining_refused" in {each.code for each in after}
    with pytest.raises(NotAsAsked, match=r"scheduler: .* uses a scheduler of its own"):
        engine.foresee(job.model_copy(update={"strict": True}))
    assert [each.code for each in engine.foresee(GenerationJob(prompt="a fox", strict=True))] == ["joining_refused"]
    engine.close()


def test_a_scheduler_that_takes_more_steps_than_asked_for_is_said_and_refused_to_strict_jobs(engines: Engines) -> None:
    engine = engines.shared("sd")
    job = GenerationJob(prompt="a fox", scheduler="HeunDiscreteScheduler", steps=5)
    (warning,) = made(engine, job)
    assert (warning.code, warning.detail) == ("steps_changed", {"asked": 5, "made": 9})
    with pytest.raises(NotAsAsked, match="makes 9 where 5 were asked for"):
        engine.foresee(job.model_copy(update={"strict": True}))
    assert engine.foresee(job.model_copy(update={"scheduler": "DDIMScheduler"})) == []


def test_an_image_of_another_size_is_kept_with_a_warning_and_no_image_of_a_strict_job(engines: Engines) -> None:
    model = ModelSettings(source=str(engines.source("sd")), default_size="64x64")
    engine = Engine.load(model, EngineSettings(threads=1))
    engine.warm_up()
    kind = engine.renderer._copies._kind
    call = kind.__call__
    kind.__call__ = lambda pipe, **given: call(pipe, **{**given, "width": 32})  # as Hunyuan-DiT has sizes of its own
    job = GenerationJob(prompt="a fox", steps=1, num_images=2)

    warnings = made(engine, job)

    assert [(each.code, each.image, each.detail) for each in warnings] == [
        ("size_changed", index, {"asked": "64x64", "made": "32x64"}) for index in range(2)
    ]
    with pytest.raises(NotAsAsked, match="32x64 pixels where 64x64"):
        made(engine, job.model_copy(update={"strict": True}))
    engine.close()


def test_what_the_models_own_safety_checker_flags_is_said_image_by_image(tmp_path: Path) -> None:
    engine = loaded(sd_with_checker, tmp_path)
    engine.warm_up()
    job = GenerationJob(prompt="a fox", num_images=3, steps=2)
    assert made(engine, job) == []
    lower_the_threshold(engine, job)

    warnings = made(engine, job)
    images = engine.render(engine.check(job), seed=1, on_step=go_on)

    flagged = {each.image for each in warnings}
    assert {each.code for each in warnings} == {"image_flagged"}
    assert len(flagged) == 1
    assert [not np.asarray(image).any() for image in images] == [index in flagged for index in range(3)]
    engine.close()


def lower_the_threshold(engine: Engine, job: GenerationJob) -> None:
    """Let the checker flag the one image of *job* that is the most like what it looks for."""
    import torch  # noqa: PLC0415  # only here

    checker, pipe = engine.pipe.safety_checker, engine.pipe
    images = engine.render(engine.check(job), seed=1, on_step=go_on)
    seen = pipe.feature_extractor(images, return_tensors="pt").pixel_values
    features = checker.visual_projection(checker.vision_model(seen)[1])
    likeness = torch.nn.functional.cosine_similarity(features, checker.concept_embeds[:1])
    checker.concept_embeds_weights.data.fill_(float(likeness.sort().values[-2:].mean().detach()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"scheduler": "PNDMScheduler", "steps": 2},
            "PNDMScheduler cannot make 2; the nearest .* is 4",
        ),
        ({"scheduler_options": {"use_karas_sigmas": True}}, "DDIMScheduler has no option use_karas_sigmas"),
        (
            {"scheduler": "EulerDiscreteScheduler", "scheduler_options": {"use_karas_sigmas": True}},
            "did you mean use_karras_sigmas",
        ),
        (
            {"scheduler": "EulerDiscreteScheduler", "scheduler_options": {"use_karras_sigmas": "yes"}},
            "use_karras_sigmas of EulerDiscreteScheduler is wrong: .*boolean.*'yes'",
        ),
        ({"scheduler_options": {"num_train_timesteps": 10}}, "says how the model was trained"),
        (
            {"scheduler": "DPMSolverMultistepScheduler", "scheduler_options": {"solver_order": 10**9}},
            "solver_order .* is too large",
        ),
        (
            {
                "scheduler": "EulerDiscreteScheduler",
                "scheduler_options": {"use_karras_sigmas": True, "use_exponential_sigmas": True},
            },
            "cannot be used here: Only one of",
        ),
    ],
)
def test_what_a_scheduler_cannot_do_is_refused_before_the_device_with_a_sentence(
    engines: Engines, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(JobRejected, match=sentence):
        engines.shared("sd").check(GenerationJob(prompt="a fox").model_copy(update=change))


def test_the_choices_are_schedulers_that_can_be_made_here(engines: Engines) -> None:
    engine = engines.shared("sd")
    with pytest.raises(JobRejected) as caught:
        engine.check(GenerationJob(prompt="a fox", scheduler="NoSuchScheduler"))
    choices = caught.value.message.partition("choose one of ")[2].split(", ")
    for name in choices:
        engine.check(GenerationJob(prompt="a fox", scheduler=name, steps=5))
    every = {kind.__name__ for kind in engine.pipe.scheduler.compatibles}
    for name in every - set(choices):
        with pytest.raises(JobRejected, match="cannot be used here"):
            engine.check(GenerationJob(prompt="a fox", scheduler=name))


def test_options_of_the_scheduler_change_the_image(engines: Engines) -> None:
    engine = engines.shared("sd")
    job = GenerationJob(prompt="a fox", scheduler="EulerDiscreteScheduler", steps=5, seed=1)
    karras = job.model_copy(update={"scheduler_options": {"use_karras_sigmas": True}})
    assert made(engine, karras) == []
    assert (pixels(engine, karras) != pixels(engine, job)).any()
    shifted = GenerationJob(prompt="a fox", steps=3, seed=1, scheduler_options={"shift": 1.0})
    sd3 = engines.shared("sd3")
    assert (pixels(sd3, shifted) != pixels(sd3, shifted.model_copy(update={"scheduler_options": {}}))).any()
