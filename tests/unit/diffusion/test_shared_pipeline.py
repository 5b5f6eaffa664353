"""Which pipelines may have CUDA graphs, without a device for them, and which keep what their text encoders made."""

import weakref
from dataclasses import replace

import pytest
import torch
from tests.support.models.engines import Engines, joined, pixels

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.cuda_graphs import CudaGraphs
from imagefleet_worker.diffusion import warm_up
from imagefleet_worker.diffusion.joining_proof import JoiningProof
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.diffusion.shared_pipeline import share_pipeline
from imagefleet_worker.settings import EngineSettings, SpeedSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


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


JOBS = [
    GenerationJob(prompt="a red fox", seed=1, steps=2, width=64, height=64),
    GenerationJob(prompt="a red fox", seed=2, steps=2, width=64, height=64, num_images=2),
    GenerationJob(prompt="a tram", negative_prompt="rain", seed=3, steps=2, width=64, height=64),
]


@pytest.mark.parametrize(
    ("family", "texts"),
    [
        ("sd", 4),  # two prompts, the empty negative one, and "rain"
        ("sdxl", 2 * 3),  # does not encode the empty one
        ("sd3", 3 * 4),
        ("flux", 2 * 3),
        ("z-image", 4),  # language models
        ("qwen-image", 4),
    ],
)
def test_texts_that_come_again_are_kept_and_the_images_are_the_same(engines: Engines, family: str, texts: int) -> None:
    keeps, keeps_none = engines.tuned(family), engines.tuned(family, text_cache_mib=0)
    alone = [pixels(keeps_none, job) for job in JOBS]
    encoded: list[float] = []
    for make in (joined, joined, joined, lambda engine, jobs: [pixels(engine, job) for job in jobs]):
        for image, expected in zip(make(keeps, JOBS), alone, strict=True):
            assert image.shape == expected.shape
            assert abs(image - expected).max() <= 1
        stats = keeps.stats()
        encoded.append(stats["text_rows"] - stats["text_rows_reused"])

    assert encoded == [texts, 2 * texts, 2 * texts, 2 * texts]
    assert keeps_none.stats()["text_rows"] == 0


@pytest.mark.parametrize("settings", [{"mode": "off"}, {"mode": "reproducible"}, {"max_jobs": 1}])
def test_without_mode_merge_no_text_is_kept(engines: Engines, settings: dict[str, object]) -> None:
    engine = engines.tuned("sd", **settings)
    for _ in range(2):
        pixels(engine, JOBS[0])
    assert engine.stats()["text_rows"] == 0
    assert engine.shared.runner.row_cache is None


def test_a_model_whose_joining_is_refused_keeps_no_text(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = JoiningProof(is_proved=False, reason="a joined image differs")
    monkeypatch.setattr(warm_up, "compare", lambda *_, **__: refused)
    engine = engines.tuned("sd")
    for _ in range(2):
        pixels(engine, JOBS[0])
    assert engine.joining == refused
    assert engine.stats()["text_rows"] == 0


def test_a_closed_engine_lets_go_of_its_texts(engines: Engines) -> None:
    engine = engines.tuned("sd")
    pixels(engine, JOBS[0])
    kept = weakref.ref(engine.shared.runner.row_cache)
    engine.close()
    assert kept() is None


def test_a_worker_that_tries_itself_encodes_its_texts_anew(engines: Engines) -> None:
    engine = engines.tuned("sd")
    for _ in range(2):
        pixels(engine, JOBS[0])
        engine.forget_texts()
    stats = engine.stats()
    assert (stats["text_rows"], stats["text_rows_reused"]) == (4, 0)
