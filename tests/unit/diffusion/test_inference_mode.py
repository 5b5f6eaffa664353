"""Jobs run in torch's inference mode where nothing speaks against it, and nothing of that shows."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, pixels
from tests.support.models.tiny_pipelines import FAMILIES

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.tensor_digests import TensorDigests
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.inference_mode import grad_mode_for
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.settings import ModelSettings, SpeedSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

CPU = torch.device("cpu")
JOB = GenerationJob(prompt="a fox", steps=3, seed=1)


def bare_pixels(engine: Engine) -> Any:
    """The image of `JOB` by the engine's own pipeline, called as diffusers' users call it."""
    pipe, job = engine.pipe, engine.check(JOB)
    arguments = engine.renderer._arguments(job, seeds=[1], steps=lambda *_: {})  # type: ignore[arg-type]
    arguments["output_type"] = "pil"
    return np.stack([np.asarray(image) for image in pipe(**arguments).images]).astype(np.int16)


def modes_of(engine: Engine) -> list[bool]:
    """Whether inference mode was on, at each forward of a job."""
    seen: list[bool] = []
    forward = engine.shared.denoiser.function

    def note(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.is_inference_mode_enabled())
        return forward(*args, **kwargs)

    engine.shared.denoiser.function = note
    pixels(engine, JOB)
    return seen


@pytest.mark.parametrize("mode", ["off", "merge", "reproducible"])
def test_a_plain_pipeline_runs_in_inference_mode(engines: Engines, mode: str) -> None:
    assert modes_of(engines.fresh("sd", mode)) == [True] * 3


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_model_keeps_from_inference_mode_serves_without_it(engines: Engines, family: str) -> None:
    """Position tables are made at a first call and kept; other users of the pipeline come after it."""
    engine = engines.shared(family)
    image = pixels(engine, JOB)
    assert np.abs(bare_pixels(engine) - image).max() <= 1
    assert (pixels(engine, JOB) == image).all()


def test_measuring_repeats_a_call_in_the_mode_in_which_it_ran(engines: Engines) -> None:
    engine = engines.fresh("sd")
    with engine.shared.runner.recording() as calls:
        pixels(engine, JOB)
    call = next(call for call in calls if call.method is engine.shared.denoiser)
    seen: list[tuple[bool, bool]] = []
    call.method.function = lambda **_: seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
    engine.shared.loop.call(lambda: engine.shared.runner.repeat(call, 2))
    assert seen == [(True, False)]


def test_a_pipeline_that_something_was_done_to_runs_as_diffusers_runs_it(engines: Engines) -> None:
    def load(family: str) -> Any:
        model = ModelSettings(source=str(engines.source(family)))
        return load_pipeline(model, SpeedSettings(), device=CPU, dtype=torch.float32)

    def mode(pipe: Any, *, device: str = "cpu", **levers: Any) -> Any:
        speed = SpeedSettings.model_validate(levers)
        return grad_mode_for(pipe, inspect_pipeline(pipe), speed, device=torch.device(device))

    offloaded, cast, compiled, quantized, plain = (load("sd") for _ in range(5))
    offloaded.enable_group_offload(onload_device=CPU, offload_type="leaf_level")
    cast.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    compiled.unet.compile_repeated_blocks(backend="eager")
    weight = quantized.unet.conv_in.weight
    quantized.unet.conv_in.weight = type("Packed", (torch.nn.Parameter,), {})(weight)  # as bitsandbytes' and GGUF's are
    assert [mode(pipe) for pipe in (offloaded, cast, compiled, quantized)] == [torch.no_grad] * 4
    assert mode(plain, attention="native") is torch.no_grad
    assert mode(plain, channels_last=True, vae_tiling=True) is torch.inference_mode
    # On another device, reading what jobs must share at each step would wait for that device.
    flux = load("flux")
    assert mode(flux) is torch.inference_mode
    assert mode(flux, device="cuda") is torch.no_grad
    assert mode(plain, device="cuda") is torch.inference_mode


def test_a_write_into_what_jobs_share_shows_in_both_modes() -> None:
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            digests, ids = TensorDigests(), torch.zeros(4, 3)
            before = digests.of(ids)
            assert digests.of(ids) == before
            assert digests.of(ids[0]) == digests.of(torch.zeros(3))
            ids[2] = 1
            assert digests.of(ids) != before
