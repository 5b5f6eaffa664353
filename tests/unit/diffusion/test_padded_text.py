"""A UNet's text is filled up to what the CPU's attention is made for, and that changes no image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, pixels
from tests.support.models.tiny_pipelines import build

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.diffusion.padded_text import pad_text
from imagefleet_worker.settings import EngineSettings, ModelSettings, SpeedSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

JOB = GenerationJob(prompt="a fox", negative_prompt="blurry", num_images=2, steps=4, seed=1)


def load(source: Path) -> Any:
    """The pipeline in the folder *source*, as a worker on a CPU loads it."""
    return load_pipeline(
        ModelSettings(source=str(source)), SpeedSettings(), device=torch.device("cpu"), dtype=torch.float32
    )


def loaded(engines: Engines, family: str, *, is_padded: bool) -> Engine:
    """An engine for *family*, with or without padded text."""
    source = engines.source(family)
    pipe = load(source)
    if not is_padded:
        vars(pipe.unet).pop("forward")
    model = ModelSettings(source=str(source), default_size="64x64")
    return Engine(pipe, model=model, engine=EngineSettings(threads=1), revision="")


def texts_of(engine: Engine) -> tuple[Any, set[int]]:
    """The images of `JOB`, and the numbers of tokens that the attention has seen as text."""
    seen: set[int] = set()
    for name, module in engine.pipe.unet.named_modules():
        if name.endswith("attn2.to_k"):
            module.register_forward_pre_hook(lambda _module, given: seen.add(given[0].shape[1]))
    try:
        return pixels(engine, JOB), seen
    finally:
        engine.close()


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_the_image_is_the_same_with_the_text_filled_up(engines: Engines, family: str) -> None:
    bare, tokens = texts_of(loaded(engines, family, is_padded=False))
    made, filled = texts_of(loaded(engines, family, is_padded=True))

    assert (tokens, filled) == ({77}, {80})
    assert np.abs(made - bare).max() <= 1


def test_each_added_token_weighs_nothing(engines: Engines) -> None:
    """Whatever stands where the text is filled up, the values are the same to the last bit."""
    unet = load(engines.source("sd")).unet
    vars(unet).pop("forward")
    text = torch.randn(2, 80, unet.config.cross_attention_dim)
    other = torch.cat([text[:, :77], 100 * torch.randn(2, 3, unet.config.cross_attention_dim)], dim=1)
    mask = (torch.arange(80) < 77).expand(2, 80)
    latents = torch.randn(2, 4, 8, 8)

    with torch.no_grad():
        first, second = (unet(latents, 5, each, encoder_attention_mask=mask).sample for each in (text, other))

    assert torch.equal(first, second)


@pytest.mark.parametrize("family", ["kandinsky", "kandinsky3", "if", "sd3"])
def test_other_denoisers_are_left_alone(tmp_path: Path, family: str) -> None:
    """They use their text in other ways, where a mask would not leave the tokens out."""
    pipe = load(build(family, tmp_path / "model"))

    assert "forward" not in vars(getattr(pipe, "unet", None) or pipe.transformer)


def test_a_text_that_is_pooled_is_left_alone(engines: Engines) -> None:
    unet = load(engines.source("sd")).unet
    vars(unet).pop("forward")
    for name, value in (("addition_embed_type", "text"), ("only_cross_attention", True)):
        config = dict(unet.config)
        unet.register_to_config(**{name: value})
        assert not pad_text(unet)
        unet.register_to_config(**config)
    assert pad_text(unet)
    assert not pad_text(unet), "twice"
