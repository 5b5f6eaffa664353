"""One family of the GPU benchmark: a pipeline of real size with random weights, measured through the engine."""

import statistics
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from tests.benchmarks._device_clock import DeviceClock
from tests.support.real_pipelines import make
from tests.support.real_sizes import Sizes

from imagefleet.jobs import GenerationJob
from imagefleet_worker.device import free_memory
from imagefleet_worker.doctor import jobs
from imagefleet_worker.doctor.curve import Point, measure, run_at_once
from imagefleet_worker.engine import Engine
from imagefleet_worker.settings import EngineMode, EngineSettings, ModelSettings

_ROUNDS = 5
Say = Callable[[str], None]


def measure_family(family: str, sizes: Sizes, *, device: torch.device, say: Say) -> dict[str, Any]:
    """What the benchmark prints of one family; seconds and images a second, shares of 1, bytes."""
    started = time.perf_counter()
    say(f"{family}: making it")
    # CPUs are slow in bfloat16
    pipe = make(family, sizes, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
    made_s = time.perf_counter() - started
    clock = DeviceClock(device)
    found = {
        "off": _measure_off(pipe, sizes, clock=clock, say=say),
        **_measure_merge(pipe, sizes, clock=clock, say=say),
    }
    found["merge_over_off"] = round(found["merge"]["images_per_s"] / found["off"]["images_per_s"], 3)
    about = {
        "parameters": {name: _parameters(part) for name, part in pipe.components.items() if _parameters(part)},
        "size": f"{sizes.side}x{sizes.side}",
        "steps": sizes.steps,
        "made_s": round(made_s, 1),
    }
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    del pipe
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return {**about, **found, "peak_bytes": peak, "took_s": round(time.perf_counter() - started, 1)}


def _measure_off(pipe: Any, sizes: Sizes, *, clock: DeviceClock, say: Say) -> dict[str, Any]:
    with _engine(pipe, EngineMode.OFF, sizes, clock=clock) as engine:
        job = _job(engine, sizes)
        run_at_once(engine, jobs.alike(job, 2))
        say(f"mode off: {sizes.jobs} jobs")
        return _throughput(engine, job, sizes.jobs, clock=clock)


def _measure_merge(pipe: Any, sizes: Sizes, *, clock: DeviceClock, say: Say) -> dict[str, Any]:
    with _engine(pipe, EngineMode.MERGE, sizes, clock=clock) as engine:
        job = _job(engine, sizes)
        curve = measure(engine, job, rows=sizes.rows_each * sizes.jobs, say=say)
        best = max(curve.points, key=lambda point: point.images_per_s)
        say(f"mode merge: {best.jobs} jobs")
        merged = _throughput(engine, job, best.jobs, clock=clock)
        say("one job alone, against the bare pipeline")
        alone_s, bare_s = _one_job(engine, pipe, job, clock=clock)
    return {
        "points": [_as_mapping(point) for point in curve.points],
        "memory_ended_it": curve.is_cut,
        "merge": merged,
        "bare_s": round(bare_s, 4),
        "single_overhead": round(alone_s / bare_s - 1, 4),
        "step_overhead_ms": round((alone_s - bare_s) / sizes.steps * 1000, 3),
    }


@contextmanager
def _engine(pipe: Any, mode: EngineMode, sizes: Sizes, *, clock: DeviceClock) -> Generator[Engine]:
    settings = EngineSettings(
        mode=mode, max_jobs=sizes.jobs, max_rows=sizes.rows_each * sizes.jobs, max_pixels=sys.maxsize
    )
    with clock.watching(pipe):
        engine = Engine(pipe, model=ModelSettings(), engine=settings, revision="random")
        try:
            yield engine
        finally:
            engine.close()


def _job(engine: Engine, sizes: Sizes) -> GenerationJob:
    return engine.check(GenerationJob(prompt="a red fox", width=sizes.side, height=sizes.side, steps=sizes.steps))


def _throughput(engine: Engine, job: GenerationJob, count: int, *, clock: DeviceClock) -> dict[str, Any]:
    before = engine.stats()
    took_s, busy_s = clock.run(lambda: run_at_once(engine, jobs.alike(job, count)))
    after = engine.stats()
    forwards = after["forwards"] - before["forwards"]
    return {
        "jobs": count,
        "images_per_s": round(count / took_s, 4),
        "idle": round(1 - busy_s / took_s, 4),
        "calls": int(after["calls"] - before["calls"]),
        "forwards": int(forwards),
        "idle_ms_per_forward": round((took_s - busy_s) / max(1, forwards) * 1000, 3),
    }


def _one_job(engine: Engine, pipe: Any, job: GenerationJob, *, clock: DeviceClock) -> tuple[float, float]:
    """Seconds of one job through the engine and of the bare pipeline, taking turns; the middle of each."""

    def through_engine() -> None:
        engine.render(job, seed=0, on_step=lambda _done, _total: None)

    def bare() -> None:  # a thread without a seat passes the meeting point by
        pipe(
            prompt=[job.prompt],
            width=job.width,
            height=job.height,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(0)],
        )

    took: dict[Callable[[], None], list[float]] = {through_engine: [], bare: []}
    for _ in range(_ROUNDS):
        for work, seconds in took.items():
            seconds.append(clock.run(work)[0])
    return statistics.median(took[through_engine]), statistics.median(took[bare])


def _as_mapping(point: Point) -> dict[str, float]:
    return {
        "jobs": point.jobs,
        "rows": round(point.rows, 2),
        "images_per_s": round(point.images_per_s, 4),
        "latency_s": round(point.latency_s, 4),
    }


def _parameters(part: Any) -> int:
    return sum(each.numel() for each in part.parameters()) if isinstance(part, torch.nn.Module) else 0
