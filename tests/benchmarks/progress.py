"""What progress and previews cost a job: the time in its step callback, as a share of the time that the pipeline takes.

`python -m tests.benchmarks.progress [FOLDER [SIDE [STEPS]]]` runs one job on the model in FOLDER (without it on a
Stable Diffusion 1.x of random weights whose UNet is half as wide as the real one), with progress to a real Redis, a
listener, and a preview after every step, once as often as it can be and once as the settings have it. It prints one
JSON object:
`{"side", "steps", "step_ms", "progress_us", "preview_ms": {"this job", "1024 SDXL", "1024 Flux"}, "share_percent":
{"every_step", "settings"}}`. Encoding and sending are in a thread of their own and not counted as the job's.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import redis
import torch
from tests.support.models.tiny_pipelines import build
from tests.support.servers.redis import RedisServer

from imagefleet import Client
from imagefleet.contract.jobs import GenerationJob
from imagefleet.store.keys import Keys
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.previews import Previewer
from imagefleet_worker.jobs.progress import AttemptProgress, ProgressPublisher
from imagefleet_worker.jobs.progress_webhooks import UpdateWebhooks
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.settings import EngineSettings, ModelSettings

ROUNDS = 50


@dataclass
class Stopwatch:
    """Seconds that calls took."""

    seconds: list[float] = field(default_factory=list)

    def of(self, function: Any) -> Any:
        """*function*, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - start)

        return timed


def main(folder: str = "", side: str = "256", steps: str = "6") -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as work:
        source = folder or str(_model(Path(work) / "model"))
        with RedisServer(Path(work)) as server:
            every = _run(source, server.url, side=int(side), steps=int(steps), interval_s=1e-9)
            usual = _run(source, server.url, side=int(side), steps=int(steps), interval_s=1.0)
    large = {
        "1024 SDXL": _preview_ms("StableDiffusionXLPipeline", torch.randn(1, 4, 128, 128)),
        "1024 Flux": _preview_ms("FluxPipeline", torch.randn(1, 4096, 64)),
    }
    print(
        json.dumps(
            {
                "side": int(side),
                "steps": int(steps),
                "step_ms": every["step_ms"],
                "progress_us": every["progress_us"],
                "preview_ms": {"this job": every["preview_ms"], **large},
                "share_percent": {"every_step": every["share_percent"], "settings": usual["share_percent"]},
            }
        )
    )


def _model(folder: Path) -> Path:
    """A tiny Stable Diffusion whose UNet has the depth of the real one and half of its width."""
    build("sd", folder)
    torch.manual_seed(0)
    widths = (160, 320, 640, 640)
    unet: Any = diffusers.UNet2DConditionModel(cross_attention_dim=32, sample_size=64, block_out_channels=widths)
    unet.save_pretrained(folder / "unet")
    return folder


def _run(source: str, url: str, *, side: int, steps: int, interval_s: float) -> dict[str, float]:
    settings = EngineSettings(preview_interval_s=interval_s)
    engine = Engine.load(ModelSettings(source=source, warm_up=False), settings)
    progress, preview = Stopwatch(), Stopwatch()
    sketching = engine._renderer.previewer
    assert sketching
    sketching.make = preview.of(sketching.make)
    with Client(url) as client, redis.Redis.from_url(url) as raw:
        job = GenerationJob(prompt="a lighthouse", width=side, height=side, steps=steps, preview_every=1)
        job_id = client.submit(job)
        raw.hset(Keys().job(job_id), "status", "running")
        publisher = ProgressPublisher(raw, keys=Keys(), interval_s=0.25, on_cancel=lambda _job_id: None)
        publisher.start()
        updates = UpdateWebhooks(job_id, job, attempts=1, worker="w", interval_s=5)
        reporter = AttemptProgress(job_id, publisher=publisher, metrics=Metrics(model="default"), updates=updates)
        listener = raw.pubsub()
        listener.subscribe(Keys().events(job_id))
        start = time.perf_counter()
        engine.render(
            engine.check(job), seed=1, on_step=progress.of(reporter.step), on_preview=progress.of(reporter.preview)
        )
        seconds = time.perf_counter() - start
        publisher.stop()
        listener.close()
    spent = sum(progress.seconds) + sum(preview.seconds)
    return {
        "step_ms": round(seconds / steps * 1000, 1),
        "progress_us": round(sum(progress.seconds) / steps * 1e6, 1),
        "preview_ms": round(sum(preview.seconds) / max(len(preview.seconds), 1) * 1000, 3),
        "share_percent": round(spent / seconds * 100, 4),
    }


def _preview_ms(pipeline: str, latents: torch.Tensor) -> float:
    """The best of some rounds: what the arithmetic costs, on this machine's CPU."""
    previewer = Previewer(type(pipeline, (), {"vae_scale_factor": 8})(), side=128)
    timed = Stopwatch()
    for _ in range(ROUNDS):
        timed.of(previewer.make)(latents, width=1024, height=1024)
    return round(min(timed.seconds) * 1000, 3)


if __name__ == "__main__":
    main(*sys.argv[1:])
