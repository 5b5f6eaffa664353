"""A shared pipeline: a loaded pipeline whose denoiser, decoder and text encoders are called by many jobs together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from imagefleet_worker.batching.admission import Admission
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.budget import BatchBudget, decoder_budget, denoiser_budget, encoder_budget
from imagefleet_worker.batching.cuda_graphs import CudaGraphs
from imagefleet_worker.batching.device_loop import DeviceLoop
from imagefleet_worker.batching.device_timer import DeviceTimer
from imagefleet_worker.batching.graph_device import CudaDevice
from imagefleet_worker.batching.row_cache import RowCache
from imagefleet_worker.batching.run import RunState
from imagefleet_worker.batching.shared_method import JoinPolicy, SharedMethod
from imagefleet_worker.diffusion.inference_mode import grad_mode_for, is_plain
from imagefleet_worker.diffusion.pipeline_traits import PipelineTraits
from imagefleet_worker.hardware.torch_device import use_in_thread
from imagefleet_worker.settings import CudaGraphsMode, EngineMode, EngineSettings, Offload, SpeedSettings

#: What turns latents into pixels, by the names that diffusers' pipelines give it.
_DECODERS = ("vae", "movq", "vqgan")
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")


@dataclass(slots=True)
class SharedPipeline:
    """The device loop of a pipeline, and what a measurement or a proof may change in it before jobs come."""

    loop: DeviceLoop
    admission: Admission
    runner: BatchRunner
    timer: DeviceTimer
    #: None if the denoiser is not known, or must be left as it is.
    denoiser: SharedMethod | None
    decoders: list[SharedMethod]
    encoders: list[SharedMethod]
    #: Of the denoiser; it also says how many jobs are admitted.
    budget: BatchBudget
    #: Jobs that may be on the device together once joining is proved; 1 if the settings join none.
    most_jobs: int
    #: Why the pipeline, not the settings, has one job at a time on the device; empty if it need not.
    why_alone: str
    #: Whether the decoder's and the text encoders' calls are joined as well.
    is_merged: bool

    @property
    def methods(self) -> list[SharedMethod]:
        """All methods at which runs may park."""
        return [*([self.denoiser] if self.denoiser else []), *self.encoders, *self.decoders]

    def stats(self) -> dict[str, float]:
        """The counters of `Engine.stats`."""
        counts, graphs, texts = self.runner.counts, self.runner.graphs, self.runner.row_cache
        left_behind = {f"left_behind_{reason}": float(n) for reason, n in self.loop.left_behind.copy().items()}
        return {
            "forwards": counts.forwards,
            "calls": counts.calls,
            "rows": counts.rows,
            "busy_seconds": self.timer.seconds,
            "jobs": self.admission.count(),
            "graph_replays": graphs.replays if graphs else 0,
            "text_rows": texts.rows if texts else 0,
            "text_rows_reused": texts.reused if texts else 0,
            **left_behind,
        }

    def allow_joining(self) -> None:
        """From now on, let jobs be on the device together."""
        self.admission.limit = self.most_jobs
        if self.denoiser:
            self.denoiser.policy.is_joined = self.most_jobs > 1
        for method in (*self.encoders, *self.decoders):
            method.policy.is_joined = self.is_merged

    def keep_texts(self, most_bytes: int) -> None:
        """From now on, keep up to *most_bytes* of what the text encoders make, if their calls may be joined.

        Not before joining is proved: what an encoder made for a job alone would take the place of the joined one's.
        """
        if self.is_merged and most_bytes:
            self.runner.row_cache = RowCache(most_bytes)
            for encoder in self.encoders:
                encoder.policy.keeps_rows = True

    def serve_one_at_a_time(self) -> None:
        """From now on, let each job have the device to itself."""
        self.admission.limit = 1
        for method in self.methods:
            method.policy.is_joined = False

    def close(self) -> None:
        """End the loop, give the modules their own methods back, and let go of the device's memory."""
        self.loop.close()
        self.runner.graphs = self.runner.row_cache = None


def share_pipeline(
    pipe: Any,
    traits: PipelineTraits,
    *,
    engine: EngineSettings,
    speed: SpeedSettings,
    device: torch.device,
    on_capacity: Callable[[], None],
) -> SharedPipeline:
    """Put a device loop round *pipe*, which computes on *device*.

    The loop is not started yet, and makes one job at a time until `SharedPipeline.allow_joining`.
    """
    is_shared = engine.mode is not EngineMode.OFF and not traits.why_alone and not speed.is_one_at_a_time
    budget = denoiser_budget(engine)
    timer = DeviceTimer(device)
    graphs = None
    if not traits.why_alone and _may_capture(pipe, engine, speed, device):  # such a pipeline may change the denoiser
        graphs = CudaGraphs(CudaDevice(device), fills_up=engine.mode is not EngineMode.OFF)
    runner = BatchRunner(device, timer=timer, graphs=graphs)
    admission = Admission(1, budget=budget, on_capacity=on_capacity)
    loop = DeviceLoop(
        runner=runner,
        admission=admission,
        grad_mode=grad_mode_for(pipe, traits, speed, device=device),
        prepare_thread=use_in_thread(device),
    )
    most_jobs, is_merged = engine.max_jobs if is_shared else 1, is_shared and engine.mode is EngineMode.MERGE
    shared = SharedPipeline(
        loop, admission, runner, timer, None, [], [], budget, most_jobs, traits.why_alone, is_merged
    )
    if speed.offload is Offload.MODEL:  # it puts the modules' own methods back after each job
        return shared
    fixed_rows = engine.reproducible_rows if engine.mode is EngineMode.REPRODUCIBLE else None
    if traits.denoiser is not None:
        policy = JoinPolicy(budget, is_joined=False, fixed_rows=fixed_rows)
        shared.denoiser = loop.share(getattr(pipe, traits.denoiser), "forward", state=RunState.DENOISING, policy=policy)
    for owner in _parts(pipe, _ENCODERS):
        if isinstance(owner, torch.nn.Module) and owner is not getattr(pipe, traits.denoiser or "", None):
            policy = JoinPolicy(encoder_budget(engine), is_joined=False)
            shared.encoders.append(loop.share(owner, "forward", state=RunState.ENCODING, policy=policy))
    for owner in _parts(pipe, _DECODERS):
        if hasattr(owner, "decode"):
            policy = JoinPolicy(decoder_budget(engine), is_joined=False)
            shared.decoders.append(loop.share(owner, "decode", state=RunState.DECODING, policy=policy))
    return shared


def _parts(pipe: Any, names: tuple[str, ...]) -> list[Any]:
    """The parts of *pipe* with these names, each once."""
    found: list[Any] = []
    for part in (getattr(pipe, name, None) for name in names):
        if part is not None and all(part is not other for other in found):
            found.append(part)
    return found


def _may_capture(pipe: Any, engine: EngineSettings, speed: SpeedSettings, device: torch.device) -> bool:
    """Whether CUDA graphs may be used: not if anything changes between two steps, or must keep its very bits."""
    return (
        device.type == "cuda"
        and engine.cuda_graphs is CudaGraphsMode.AUTO
        and engine.mode is not EngineMode.REPRODUCIBLE
        and not speed.compile
        and is_plain(pipe, speed)
    )
