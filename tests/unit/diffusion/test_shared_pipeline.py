"""Which pipelines may have CUDA graphs; nothing is computed here, so that no device is needed."""

from dataclasses import replace

import pytest
import torch
from tests.support.models.engines import Engines

from imagefleet_worker.batching.cuda_graphs import CudaGraphs
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.diffusion.shared_pipeline import share_pipeline
from imagefleet_worker.settings import EngineSettings, SpeedSettings


def graphs_of(engines: Engines, *, changes_denoiser: bool = False, **settings: object) -> CudaGraphs | None:
    """The graphs of a pipeline that would be on a GPU."""
    pipe = engines.fresh("sd").pipe
    shared = share_pipeline(
        pipe,
        replace(inspect_pipeline(pipe), changes_denoiser=changes_denoiser),
        engine=EngineSettings.model_validate({"threads": 1, **settings}),
        speed=SpeedSettings(),
        device=torch.device("cuda:0"),
        on_capacity=lambda: None,
    )
    shared.loop.close()
    return shared.runner.graphs


def test_a_pipeline_that_changes_its_denoiser_within_a_call_has_no_graphs(engines: Engines) -> None:
    """PAG sets its attention for each call: a graph that was captured after it would leave the guidance out."""
    assert graphs_of(engines) is not None
    assert graphs_of(engines, changes_denoiser=True) is None


@pytest.mark.parametrize("settings", [{"mode": "reproducible"}, {"cuda_graphs": "off"}])
def test_the_settings_may_rule_graphs_out(engines: Engines, settings: dict[str, object]) -> None:
    assert graphs_of(engines, **settings) is None
