"""What makes a pipeline faster leaves the modes' promises as they are, or is refused with a sentence."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, go_on, pixels, together
from tests.support.models.mixed_jobs import mixed_jobs

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.errors import JobCanceled, ModelUnavailable
from imagefleet_worker.settings import EngineSettings, ModelSettings, SpeedSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # torch arrays in numpy
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),  # torch's own compiler
]

JOINED = [
    *((family, {"fuse_qkv": True}) for family in ("sd", "sd3", "flux")),
    *((family, {"attention": "_native_math"}) for family in ("flux", "z-image")),
    ("sdxl", {"channels_last": True}),
    ("sdxl", {"vae_tiling": True, "vae_slicing": True}),
    *((family, {"layerwise_casting": "float8_e4m3fn"}) for family in ("sd", "flux")),
]
SAME_IMAGE = ("fuse_qkv", "attention", "channels_last", "vae_slicing")


def _speed(**levers: object) -> SpeedSettings:
    return SpeedSettings.model_validate(levers)


@pytest.fixture(autouse=True)
def _default_attention(engines: Engines) -> Iterator[None]:
    yield
    engines.shared("flux").pipe.transformer.set_attention_backend("native")  # diffusers sets it for the whole process


@pytest.mark.parametrize(("family", "levers"), JOINED)
def test_joined_jobs_make_their_own_images_with_the_lever_on(engines: Engines, family, levers):
    jobs = mixed_jobs(family, 4, most_steps=5)
    bare = [pixels(engines.shared(family, "off"), job) for job in jobs]
    engine = engines.fresh(family, speed=_speed(**levers))
    alone = [pixels(engine, job) for job in jobs]
    before = engine.stats()
    for one, joined in zip(alone, together(engine, jobs, threads=4), strict=True):
        assert np.abs(one - joined).max() <= 1
    after = engine.stats()
    assert after["forwards"] - before["forwards"] < after["calls"] - before["calls"], "nothing was joined"
    differences = [np.abs(one - plain).max() for one, plain in zip(alone, bare, strict=True)]
    if next(iter(levers)) in SAME_IMAGE:
        assert max(differences) <= 1
    elif "layerwise_casting" in levers:
        assert max(differences) > 1, "the weights are as exact as before"


@pytest.mark.parametrize(
    ("family", "levers"),
    [("sd", {"channels_last": True, "fuse_qkv": True}), ("flux", {"layerwise_casting": "float8_e4m3fn"})],
)
def test_reproducible_keeps_its_bytes_with_the_lever_on(engines: Engines, family, levers):
    jobs = mixed_jobs(family, 4, most_steps=4)
    engine = engines.fresh(family, "reproducible", speed=_speed(**levers))
    alone = [pixels(engine, job) for job in jobs]
    assert all((one == joined).all() for one, joined in zip(alone, together(engine, jobs, threads=4), strict=True))


def test_compiled_blocks_serve_any_number_of_rows(engines: Engines):
    jobs = mixed_jobs("sd", 4, most_steps=4)
    bare = [pixels(engines.shared("sd", "off"), job) for job in jobs]
    torch._dynamo.reset()
    engine = engines.fresh("sd")
    engine.pipe.unet.compile_repeated_blocks(backend="aot_eager")  # the lever's call; its code takes minutes to make
    made = together(engine, jobs, threads=4)
    assert all(np.abs(one - plain).max() <= 1 for one, plain in zip(made, bare, strict=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize(
    ("family", "cache"), [("flux", "taylorseer"), ("qwen-image", "taylorseer"), ("flux", "first_block")]
)
def test_a_cache_serves_one_job_after_the_other_and_forgets_each(engines: Engines, family, cache):
    options = {"threshold": 0.5} if cache == "first_block" else {"cache_interval": 2, "disable_cache_before_step": 2}
    engine = engines.fresh(family, "off", speed=_speed(cache=cache, cache_options=options))
    job = GenerationJob(prompt="a fox", steps=8, seed=1, num_images=2)
    first = pixels(engine, job)
    assert (first != pixels(engines.shared(family, "off"), job)).any(), "the cache does nothing"

    def cancel(done: int, _total: int) -> None:
        if done == 3:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        engine.render(engine.check(job), seed=9, on_step=cancel)
    assert all((image == first).all() for image in together(engine, [job] * 4, threads=4))
    alone = pixels(engine, job.model_copy(update={"num_images": 1, "seed": 2}))
    assert np.abs(first[1] - alone[0]).max() <= 1, "an image depends on the one beside it"


def test_a_lever_that_breaks_the_model_is_found_before_the_first_job(engines: Engines):
    with pytest.raises(ModelUnavailable, match="makes no image"):
        engines.fresh("flux2-klein", "off", speed=_speed(cache="first_block"))  # which diffusers gets wrong there


def test_group_offload_goes_with_joined_jobs(engines: Engines):
    model = ModelSettings(source=str(engines.source("sd")), default_size="64x64")
    pipe = load_pipeline(model, _speed(), device=torch.device("cpu"), dtype=torch.float32)
    pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")  # its hooks, to nowhere
    engine = Engine(pipe, model=model, engine=EngineSettings(), revision="")
    engine.warm_up()
    jobs = mixed_jobs("sd", 4)
    bare = [pixels(engines.shared("sd", "off"), job) for job in jobs]
    made = together(engine, jobs, threads=4)
    assert all(np.abs(one - plain).max() <= 1 for one, plain in zip(made, bare, strict=True))
    hooked = engine.shared.denoiser._own
    engine.close()
    assert pipe.unet.__dict__.get("forward") is hooked


@pytest.mark.parametrize(
    ("family", "levers", "sentence"),
    [
        ("sd", {"attention": "native"}, "ATTENTION.* has no backends to choose from"),
        ("flux", {"attention": "no_such"}, "ATTENTION.* must be one of the following"),
        ("flux", {"channels_last": True}, "CHANNELS_LAST.* only a UNet gains by it"),
        ("z-image", {"fuse_qkv": True}, "FUSE_QKV.* has no fuse_qkv_projections"),
        ("sd3", {"compile": True}, "COMPILE.* `_repeated_blocks` attribute is empty"),
        ("sd", {"cache": "taylorseer"}, "CACHE.* has no caches"),
        ("flux", {"cache": "taylorseer", "cache_options": {"no_such": 1}}, "CACHE.* unexpected keyword"),
        ("sd", {"offload": "group"}, "OFFLOAD.* no device whose memory it could spare"),
        ("sd", {"quantization": "no_such"}, "QUANTIZATION=no_such cannot be used"),
        (
            "sd",
            {"quantization": "torchao", "quantization_options": {"quant_type": "No"}},
            "QUANTIZATION=torchao.*Install the",
        ),
    ],
)
def test_what_does_not_fit_the_model_or_the_device_is_refused(engines: Engines, family, levers, sentence):
    with pytest.raises(ModelUnavailable, match=f"IMAGEFLEET_SPEED_{sentence}"):
        engines.fresh(family, "off", speed=_speed(**levers))


def test_a_lever_leaves_the_steps_reported_as_they_are(engines: Engines):
    engine = engines.fresh("sd", speed=_speed(vae_tiling=True))
    before = engine.stats()["forwards"]
    engine.render(engine.check(GenerationJob(prompt="a fox", steps=2)), seed=1, on_step=go_on)
    assert engine.stats()["forwards"] - before == 2
