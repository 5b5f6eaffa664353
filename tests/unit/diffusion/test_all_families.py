"""Each text-to-image family of diffusers: served as the bare pipeline does it, joined right, or refused."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from tests.support.models.bare_pipelines import BarePipeline
from tests.support.models.engines import Pixels, go_on, joined, pixels
from tests.support.models.tiny_pipelines import ALL_FAMILIES, LEFT_OUT
from tests.support.needs import missing

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.errors import JobRejected, ModelUnavailable
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # torch arrays in numpy
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]

#: Names in diffusers' mapping, where they are others than here.
_NAMES = {
    "sd": "stable-diffusion",
    "sdxl": "stable-diffusion-xl",
    "sd3": "stable-diffusion-3",
    "qwen-image": "qwenimage",
}
_ALL = os.environ.get("CI", "").lower() in ("1", "true")
#: Refused when they are loaded.
_REFUSED = {"helios": "makes videos", "helios-pyramid": "makes videos"} | {
    family: "needs a control image" for family in ALL_FAMILIES if "control" in family
}
#: Large images, or text encoders of many layers: only with CI=true.
_SLOW = {"glm_image", "hunyuan", "hunyuan-pag", "hunyuan-image", "ideogram4"}
#: Of one kind with another one, or what the other tests of the engine serve: only with CI=true.
_LIKE_ANOTHER = {
    *("sdxl", "sd3", "z-image", "flux2-klein", "qwen-image", "flux2", "flux-kontext", "ovis", "cogview3", "lumina"),
    *("stable-diffusion-xl-pag", "stable-diffusion-3-pag", "pixart-alpha", "pixart-sigma-pag", "sana-pag"),
    *("kandinsky", "wuerstchen"),
}
_SERVED = [
    family for family in ALL_FAMILIES if family not in _REFUSED and (_ALL or family not in _SLOW | _LIKE_ANOTHER)
]
#: Served one job at a time, and why.
_NOT_JOINED = {
    **dict.fromkeys(("kandinsky", "kandinsky22", "wuerstchen", "cascade"), "a scheduler of its own"),
    **dict.fromkeys((family for family in ALL_FAMILIES if "pag" in family), "change the denoiser"),
    "hunyuan": "cannot be joined",  # tuples of tensors
    "glm_image": "cannot be joined",  # a cache object
    "z-image-omni": "cannot be joined",  # lists of lists of texts
}
#: Several images of one call of theirs fail, or are others than each alone.
_IMAGE_BY_IMAGE = {"glm_image", "kandinsky", "kandinsky22", "prx", "wuerstchen"}


class Families:
    """The tiny pipelines with what they make bare, each built and asked once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, tuple[BarePipeline, list[GenerationJob], list[Pixels]]] = {}

    def get(self, family: str) -> tuple[BarePipeline, list[GenerationJob], list[Pixels]]:
        """The bare pipeline of *family*, three jobs, and the images that it makes of them."""
        if family not in self._made:
            if family == "prx" and find_spec("ftfy") is None:
                missing("ftfy, with which PRX cleans its prompts")
            bare = BarePipeline(family, self._folder / family)
            jobs = bare.jobs()
            self._made[family] = bare, jobs, [bare.make(job) for job in jobs]
        return self._made[family]

    def engine(self, family: str, mode: str) -> Engine:
        """An engine on the pipeline of *family*; close it."""
        bare, _, _ = self.get(family)
        model = ModelSettings(source=str(bare.source), default_size="{}x{}".format(*bare.size), default_steps=2)
        return Engine.load(model, EngineSettings.model_validate({"mode": mode, "threads": 1}))


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


def test_every_family_of_diffusers_is_in_the_table_or_left_out_with_a_reason():
    here = {_NAMES.get(family, family) for family in ALL_FAMILIES} | set(LEFT_OUT)
    assert set(AUTO_TEXT2IMAGE_PIPELINES_MAPPING) - here == set()


@pytest.mark.parametrize("family", _SERVED)
def test_alone_the_engine_makes_what_the_bare_pipeline_makes(families: Families, family):
    bare, jobs, expected = families.get(family)
    kind = AUTO_TEXT2IMAGE_PIPELINES_MAPPING.get(_NAMES.get(family, family))
    assert kind is None or type(bare.pipe) is kind
    engine = families.engine(family, "off")
    try:
        engine.warm_up()
        for job, images in zip(jobs, expected, strict=True):
            assert np.abs(pixels(engine, job) - images).max() <= 1, job
        assert engine.is_image_by_image == (family in _IMAGE_BY_IMAGE)
    finally:
        engine.close()


@pytest.mark.parametrize("family", _SERVED)
def test_together_jobs_make_what_they_make_alone_or_joining_is_refused(families: Families, family):
    _, jobs, expected = families.get(family)
    engine = families.engine(family, "merge")
    try:
        engine.warm_up()
        made = joined(engine, jobs)
        assert [images.shape for images in made] == [images.shape for images in expected]
        for images, others in zip(made, expected, strict=True):
            assert np.abs(images - others).max() <= 1
        assert engine.joining is not None
        assert engine.joining.is_proved == (family not in _NOT_JOINED), engine.joining.reason
        assert _NOT_JOINED.get(family, "") in engine.joining.reason
        assert engine.shared.admission.limit == (1 if family in _NOT_JOINED else 16)
    finally:
        engine.close()


@pytest.mark.parametrize("family", _REFUSED)
def test_a_model_that_needs_more_than_jobs_say_is_refused_when_it_is_loaded(tmp_path, family):
    source = BarePipeline(family, tmp_path / family).source
    with pytest.raises(ModelUnavailable, match=f"{_REFUSED[family]}.*IMAGEFLEET_MODEL_SOURCE"):
        Engine.load(ModelSettings(source=str(source)), EngineSettings())


@pytest.mark.parametrize(
    ("family", "side", "multiple"), [("kandinsky3", 96, 64), ("cascade", 192, 128), ("krea2", 72, 16), ("flux", 72, 16)]
)
def test_a_size_that_a_pipeline_would_round_is_refused(families: Families, family, side, multiple):
    engine = families.engine(family, "off")
    try:
        with pytest.raises(JobRejected, match=f"width: {side} is not a multiple of {multiple}"):
            engine.check(GenerationJob(prompt="a fox", width=side))
    finally:
        engine.close()


def test_a_scheduler_for_a_pipeline_that_uses_another_is_without_effect(families: Families):
    engine = families.engine("kandinsky22", "off")
    try:
        engine.warm_up()
        (warning,) = engine.foresee(GenerationJob(prompt="a fox", scheduler="DDPMScheduler"))
        assert (warning.code, warning.field) == ("field_without_effect", "scheduler")
        assert "KandinskyV22CombinedPipeline uses a scheduler of its own" in warning.message
    finally:
        engine.close()


@pytest.mark.skipif(not _ALL, reason="an image of 1024 x 1024 pixels; run with CI=true")
def test_an_image_of_another_size_than_asked_for_has_a_warning(families: Families):
    engine = families.engine("hunyuan", "off")
    warnings: list[JobWarning] = []
    try:
        job = engine.check(GenerationJob(prompt="a fox", width=64, height=64, steps=1))
        engine.render(job, seed=1, on_step=go_on, on_warning=warnings.append)
        assert [each.detail for each in warnings] == [{"asked": "64x64", "made": "1024x1024"}]
    finally:
        engine.close()
