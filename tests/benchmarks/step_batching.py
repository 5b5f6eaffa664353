"""Joined forwards against one job after the other: 32 mixed jobs of 4 to 50 steps on each tiny pipeline.

`python -m tests.benchmarks.step_batching [FAMILY ...]` runs both modes through the worker's engine, taking turns, with
one CPU thread for torch, and prints as its last line one JSON object:
`{"families": {"sd": {"calls", "forwards", "max_difference", "merge_over_off"}, ...}}`.
`calls` and `forwards` are those of one round in mode merge, `max_difference` is the largest between an image of mode
merge and one of mode off (values from 0 to 1), `merge_over_off` is the ratio of the throughputs (best round of each).
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tests.support.mixed_jobs import mixed_jobs
from tests.support.tiny_pipelines import FAMILIES, build

from imagefleet.jobs import GenerationJob
from imagefleet_worker.engine import Engine
from imagefleet_worker.settings import EngineMode, EngineSettings, ModelSettings

JOBS = 32
IN_FLIGHT = 32
ROUNDS = 2


def main(families: list[str]) -> None:
    """Measure *families*, or all."""
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[str, dict[str, float]] = {}
        for family in families or FAMILIES:
            measured[family] = _measure(family, build(family, Path(folder) / family))
            print(family, measured[family], file=sys.stderr, flush=True)
    print(json.dumps({"families": measured}))


def _measure(family: str, source: Path) -> dict[str, float]:
    engines = {mode: _load(source, mode) for mode in (EngineMode.OFF, EngineMode.MERGE)}
    jobs = mixed_jobs(family, JOBS, least_steps=4, most_steps=50)
    seconds: dict[EngineMode, list[float]] = {mode: [] for mode in engines}
    images: dict[EngineMode, np.ndarray] = {}
    before = {"calls": 0.0, "forwards": 0.0}
    for _ in range(ROUNDS):
        for mode, engine in engines.items():
            before = engine.stats()
            started = time.perf_counter()
            images[mode] = _render_all(engine, jobs)
            seconds[mode].append(time.perf_counter() - started)
    after = engines[EngineMode.MERGE].stats()  # the last to run, so `before` is its own
    difference = np.abs(images[EngineMode.OFF] - images[EngineMode.MERGE]).max()
    return {
        "calls": int(after["calls"] - before["calls"]),
        "forwards": int(after["forwards"] - before["forwards"]),
        "max_difference": round(float(difference), 6),
        "merge_over_off": round(min(seconds[EngineMode.OFF]) / min(seconds[EngineMode.MERGE]), 3),
    }


def _load(source: Path, mode: EngineMode) -> Engine:
    settings = EngineSettings(mode=mode, max_jobs=IN_FLIGHT, max_rows=2 * IN_FLIGHT, threads=1)
    engine = Engine.load(ModelSettings(source=str(source)), settings)
    engine.warm_up()
    return engine


def _render_all(engine: Engine, jobs: list[GenerationJob]) -> np.ndarray:
    """All images as one array of values from 0 to 1."""

    def render(job: GenerationJob) -> np.ndarray:
        return np.asarray(engine.render(job, seed=job.seed or 0, on_step=lambda _done, _total: None)[0])

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return np.stack(list(pool.map(render, jobs))).astype(np.float32) / 255


if __name__ == "__main__":
    main(sys.argv[1:])
