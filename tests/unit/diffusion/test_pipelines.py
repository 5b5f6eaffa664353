"""Seven families of pipelines make images through the engine, each image from its own seed."""

from pathlib import Path

import numpy as np
import pytest
from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
)
from tests.support.models.engines import Engines, go_on, pixels
from tests.support.models.tiny_pipelines import FAMILIES, build

from imagefleet.contract.jobs import GenerationJob
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.errors import JobRejected, ModelUnavailable
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


def test_a_tiny_pipeline_is_the_same_each_time_and_readable_by_all(tmp_path):
    folders = [build("z-image", tmp_path / name) for name in ("one", "two")]
    files = [sorted(path for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_warms_up_and_makes_images_of_the_size_asked_for(engines: Engines, family):
    engine = engines.shared(family)
    engine.warm_up()
    reports: list[tuple[int, int]] = []
    job = engine.check(GenerationJob(prompt="a fox", width=64, height=32, steps=3))
    images = engine.render(job, seed=1, on_step=lambda done, total: reports.append((done, total)))
    assert [image.size for image in images] == [(64, 32)]
    assert np.asarray(images[0]).std() > 1
    assert reports == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_seed_guidance_and_negative_prompt_change_the_image(engines: Engines, family):
    engine = engines.shared(family)
    base = GenerationJob(prompt="a fox", steps=4, guidance_scale=4.0, seed=1)
    image = pixels(engine, base)
    changes = {"prompt": "seven blue whales in a bottle", "seed": 2, "guidance_scale": 20.0}
    if family != "flux2-klein":
        changes["negative_prompt"] = "an ugly picture of a bottle"
    for name, value in changes.items():
        other = pixels(engine, base.model_copy(update={name: value}))
        assert (other != image).any(), f"{name} changes nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_each_of_several_images_is_the_one_that_its_seed_makes_alone(engines: Engines, family):
    engine = engines.shared(family)
    job = GenerationJob(prompt="a fox", steps=4, guidance_scale=4.0, num_images=3, seed=5)
    three = pixels(engine, job)
    for i in range(3):
        alone = pixels(engine, job.model_copy(update={"num_images": 1, "seed": 5 + i}))
        assert np.abs(three[i] - alone[0]).max() <= 1
    assert (three[0] != three[1]).any()


def test_defaults_are_the_settings_and_else_the_pipelines_own(engines: Engines):
    job = engines.shared("sd").check(GenerationJob(prompt="a fox"))
    assert (job.width, job.height, job.steps, job.guidance_scale) == (64, 64, 50, 7.5)
    source = str(engines.source("qwen-image"))
    model = ModelSettings(source=source, default_steps=7, default_guidance_scale=2.0, default_size="32x48")
    job = Engine.load(model, EngineSettings()).check(GenerationJob(prompt="a fox"))
    assert (job.width, job.height, job.steps, job.guidance_scale) == (32, 48, 7, 2.0)


@pytest.mark.parametrize(
    ("family", "change", "sentence"),
    [
        ("flux", {"width": 72}, "width: 72 is not a multiple of 16"),
        ("flux2-klein", {"negative_prompt": "ugly"}, "negative_prompt: Flux2KleinPipeline has none"),
        ("sd", {"scheduler": "NoSuchScheduler"}, "choose one of .*EulerDiscreteScheduler"),
        ("flux", {"scheduler": "DDIMScheduler"}, "choose one of FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_a_sentence(engines: Engines, family, change, sentence):
    with pytest.raises(JobRejected, match=sentence):
        engines.shared(family).check(GenerationJob(prompt="a fox").model_copy(update=change))


def test_a_model_that_cannot_be_loaded_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_MODEL_SOURCE"):
        Engine.load(ModelSettings(), EngineSettings())
    with pytest.raises(ModelUnavailable, match=r"model_index\.json"):
        Engine.load(ModelSettings(source=str(tmp_path), offline=True), EngineSettings())


def test_the_revision_of_a_folder_changes_with_its_weights(tmp_path):
    folder = build("sd", tmp_path / "sd")
    first = Engine.load(ModelSettings(source=str(folder)), EngineSettings()).revision
    assert first == Engine.load(ModelSettings(source=str(folder)), EngineSettings()).revision
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert Engine.load(ModelSettings(source=str(folder)), EngineSettings()).revision != first


def test_prompts_are_never_changed_in_place(engines: Engines):
    job = GenerationJob(prompt="a fox", negative_prompt="ugly", steps=2, num_images=2)
    before = job.model_dump()
    engines.shared("z-image").render(engines.shared("z-image").check(job), seed=0, on_step=go_on)
    assert job.model_dump() == before


_FROM_TEXT = {*AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
_FROM_IMAGES = sorted(
    {*AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.values(), *AUTO_INPAINT_PIPELINES_MAPPING.values()} - _FROM_TEXT,
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", _FROM_IMAGES, ids=lambda kind: kind.__name__)
def test_a_pipeline_that_begins_with_an_image_is_refused_before_it_fails(kind: type):
    with pytest.raises(ModelUnavailable, match=r"from other images, and jobs have none|needs a control image"):
        inspect_pipeline(object.__new__(kind))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("pytorch_lora_weights.safetensors", "holds no model_index.json, but LoRA weights: fuse them"),
        ("config.json", "it is one part of a pipeline"),
        ("dreamshaper.safetensors", r"but single files \(dreamshaper.safetensors\): convert one with from_single_file"),
        ("v1/model_index.json", "and its folder v1 does: set IMAGEFLEET_MODEL_SOURCE to that"),
        ("README.md", "so it is no diffusers model"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_said_to_be_what_it_is(file: str, sentence: str, tmp_path: Path):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ModelUnavailable, match=sentence):
        Engine.load(ModelSettings(source=str(tmp_path)), EngineSettings())
