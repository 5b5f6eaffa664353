"""Views of a pipeline's modules: the same module, whose device is found without a walk."""

import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.torch_utils import get_module_execution_device
from tests.support.models.engines import Engines

from imagefleet_worker.diffusion.module_view import view_of, views_of


def test_a_views_device_is_found_without_a_walk() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    view = view_of(module)

    assert list(view.modules()) == [view]
    assert get_module_execution_device(view) == view.device == torch.device("cpu")


def test_what_is_set_at_the_module_is_seen_in_the_view_and_the_other_way_round() -> None:
    """The device loop shares a method by setting it at the module; a decoder is cast to float32 in the view."""
    module = torch.nn.Linear(2, 2)
    view = view_of(module)
    vars(module)["forward"] = lambda x: x + 1

    assert torch.equal(view(torch.zeros(2)), torch.ones(2))
    assert isinstance(view, torch.nn.Linear)
    view.to(torch.float16)
    assert module.weight.dtype == torch.float16


@pytest.fixture
def flux(engines: Engines) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(engines.source("flux"))


def test_text_encoders_and_the_decoder_have_views(flux: DiffusionPipeline) -> None:
    views = views_of(flux)

    assert set(views) == {"text_encoder", "text_encoder_2", "vae"}
    for name, view in views.items():
        assert vars(view) is vars(getattr(flux, name))
        assert list(view.modules()) == [view]


def test_a_module_with_an_offload_hook_in_a_part_has_none(flux: DiffusionPipeline) -> None:
    """Its device is the hook's, and only a walk finds that."""
    next(iter(flux.text_encoder_2.children()))._hf_hook = object()

    assert set(views_of(flux)) == {"text_encoder", "vae"}
