"""Previews: small pictures of what a job has so far, from all families of pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from tests.support.models.engines import Engines, go_on
from tests.support.models.tiny_pipelines import FAMILIES

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.previews import CannotPreview, Previewer
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


class Pipe:
    """As much of a pipeline as a previewer looks at."""

    vae_scale_factor = 8


class StableDiffusionPipeline(Pipe):
    """The name is what counts."""


def previews_of(engine: Engine, **fields: Any) -> list[Image.Image]:
    seen: list[Image.Image] = []
    job = GenerationJob.parse({"prompt": "a fox", "width": 64, "height": 32, "steps": 4, **fields})
    engine.render(engine.check(job), seed=1, on_step=go_on, on_preview=lambda preview: seen.append(preview()))
    return seen


def engine_for(engines: Engines, family: str, **settings: Any) -> Engine:
    chosen = EngineSettings.model_validate({"threads": 1, "preview_interval_s": 1e-9, **settings})
    return Engine.load(ModelSettings(source=str(engines.source(family)), warm_up=False), chosen)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_previews_in_the_shape_of_the_image(engines: Engines, family: str) -> None:
    """After each step but the last, when the image itself comes."""
    engine = engine_for(engines, family)

    seen = previews_of(engine, preview_every=1)

    assert len(seen) == 3
    for picture in seen:
        assert picture.mode == "RGB"
        assert picture.width == 2 * picture.height
        assert np.asarray(picture).std() > 1
    assert (np.asarray(seen[0]) != np.asarray(seen[2])).any()
    engine.close()


def test_only_jobs_that_ask_have_previews_and_only_so_often(engines: Engines) -> None:
    engine = engine_for(engines, "sd")
    slow = engine_for(engines, "sd", preview_interval_s=3600)

    assert previews_of(engine) == []
    assert len(previews_of(engine, preview_every=2, steps=9)) == 4
    assert len(previews_of(slow, preview_every=1, steps=9)) == 1


def test_an_image_is_the_same_with_previews_and_without(engines: Engines) -> None:
    engine = engine_for(engines, "flux")
    job = engine.check(GenerationJob(prompt="a fox", steps=3))
    with_previews = job.model_copy(update={"preview_every": 1})
    plain = engine.render(job, seed=1, on_step=go_on)[0]

    assert (
        engine.render(with_previews, seed=1, on_step=go_on, on_preview=lambda _: None)[0].tobytes() == plain.tobytes()
    )


def test_packed_latents_are_unpacked_as_the_pipeline_does_it() -> None:
    planes = torch.randn(1, 16, 8, 12)
    packed = planes.view(1, 16, 4, 2, 6, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 24, 64)  # FluxPipeline._pack_latents

    assert torch.equal(Previewer(Pipe(), side=128)._planes(packed, width=96, height=64), planes)


def test_latents_of_an_unknown_shape_are_refused_with_a_sentence() -> None:
    with pytest.raises(CannotPreview, match=r"\(1, 25, 64\)"):
        Previewer(Pipe(), side=128).begin(torch.zeros(1, 25, 64), width=96, height=64)


def test_the_colours_of_stable_diffusion_are_those_that_its_channels_stand_for() -> None:
    """The first channel is brightness, the last one darkness; nothing is grey."""
    previewer = Previewer(StableDiffusionPipeline(), side=128)
    latents = torch.zeros(1, 4, 4, 4)
    grey = np.asarray(previewer.begin(latents, width=32, height=32)())
    latents[0, 0] = 2.0
    bright = np.asarray(previewer.begin(latents, width=32, height=32)())

    assert (grey == 127).all()
    assert (bright > 170).all()


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(2048, 4096, (64, 128)), (512, 512, (128, 128)), (512, 384, (128, 96)), (64, 48, (64, 48))],
)
def test_a_preview_has_the_size_that_was_asked_for(width: int, height: int, size: tuple[int, int]) -> None:
    """Latents of 64 x 64 are smaller than that, those of 512 x 256 are larger."""
    latents = torch.randn(1, 4, height // 8, width // 8)
    made = Previewer(StableDiffusionPipeline(), side=128).begin(latents, width=width, height=height)()

    assert made.size == size


@pytest.fixture
def tiny_decoder(tmp_path: Path) -> str:
    """A decoder for latents of four channels, with random weights."""
    shape: dict[str, Any] = {
        "latent_channels": 4,
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }
    AutoencoderTiny(**shape).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_tiny_decoder_is_used_where_one_is_given(engines: Engines, tiny_decoder: str) -> None:
    seen = previews_of(engine_for(engines, "sd", preview_decoder=tiny_decoder), preview_every=2, steps=3)

    assert [picture.mode for picture in seen] == ["RGB"]
    assert seen[0].width == 2 * seen[0].height


@pytest.mark.parametrize(("family", "sentence"), [("sd", "no AutoencoderTiny in"), ("sd3", "have 16")])
def test_a_decoder_that_does_not_fit_is_found_at_the_start(
    engines: Engines, tiny_decoder: str, family: str, sentence: str
) -> None:
    folder = tiny_decoder if family == "sd3" else str(engines.source("sd"))

    with pytest.raises(ModelUnavailable, match=sentence):
        engine_for(engines, family, preview_decoder=folder)
