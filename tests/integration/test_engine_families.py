"""Seven families of pipelines make images through the engine, each image from its own seed."""

import numpy as np
import pytest
from tests.support.engines import Engines, go_on, pixels
from tests.support.tiny_pipelines import FAMILIES, build

from imagefleet.jobs import GenerationJob
from imagefleet_worker.engine import Engine
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
    with pytest.raises(ModelUnavailable, match="IMAGEFLEET_MODEL_SOURCE"):
        Engine.load(ModelSettings(), EngineSettings())
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded: .*model_index\.json"):
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
