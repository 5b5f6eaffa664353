"""What joining is worth: images per CPU second of each tiny pipeline, bare, through the engine, and as one call.

    python -m tests.benchmarks.batching [--rounds 3] [sd sd_128 sdxl ...]

CPU seconds of this process, so that other work on the machine matters little; one thread for torch. Of each family, the
ways take turns (A B C A B C) and the best round of each counts:

- `bare`: the pipeline, one call after the other, in a long-lived thread
- `single`: one job alone in mode merge, again and again; `off`: all jobs at once in mode off
- `merge`: all jobs at once in mode merge; `call`: one call of the pipeline with all prompts
- `merge_over_call`, `off_over_bare`, `single_over_bare`: ratios
- `full`: rows of a forward over the most that there were: 1 where every forward served all jobs

Last line: one JSON object with `families`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tests.support.models.tiny_pipelines import FAMILIES, build

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineMode, EngineSettings, ModelSettings

STEPS = 20
SIDES = {"sd_128": 128}
#: Families with more rows or larger texts share a forward with fewer jobs.
JOBS = {"sdxl": 8, "flux": 8, "sd3": 8, "z-image": 8, "flux2-klein": 4, "qwen-image": 8}
MOST_JOBS = 16


class Family:
    """One tiny pipeline, loaded twice: once for each mode of the engine."""

    def __init__(self, name: str, folder: Path) -> None:
        family = name.removesuffix("_128")
        source = folder / family
        if not source.exists():
            build(family, source)
        self.count, self.side = JOBS.get(family, MOST_JOBS), SIDES.get(name, 64)
        self._engines = {mode: self._load(source, mode) for mode in (EngineMode.OFF, EngineMode.MERGE)}
        engine = self._engines[EngineMode.OFF]
        job = engine.check(GenerationJob(prompt="a red fox", width=self.side, height=self.side, steps=STEPS))
        self.jobs = [job.model_copy(update={"seed": i}) for i in range(self.count)]
        self._thread = ThreadPoolExecutor(1)
        self._pool = ThreadPoolExecutor(self.count)
        self.full = 0.0

    def ways(self) -> dict[str, Callable[[], int]]:
        """Each way makes some images and gives their number."""
        return {
            "bare": lambda: self._bare([job.seed or 0 for job in self.jobs[:4]], together=False),
            "single": self._single,
            "off": lambda: self._at_once(EngineMode.OFF, self.jobs[:4]),
            "merge": self._merge,
            "call": lambda: self._bare([job.seed or 0 for job in self.jobs], together=True),
        }

    def close(self) -> None:
        """End its threads."""
        for engine in self._engines.values():
            engine.close()
        self._thread.shutdown()
        self._pool.shutdown()

    def _load(self, source: Path, mode: EngineMode) -> Engine:
        settings = EngineSettings(mode=mode, max_jobs=MOST_JOBS, max_rows=2 * MOST_JOBS, threads=1)
        engine = Engine.load(ModelSettings(source=str(source)), settings)
        engine.warm_up()
        return engine

    def _single(self) -> int:
        for job in self.jobs[:4]:
            self._render(EngineMode.MERGE, job)
        return 4

    def _merge(self) -> int:
        engine = self._engines[EngineMode.MERGE]
        before = engine.stats()
        made = self._at_once(EngineMode.MERGE, self.jobs)
        after = engine.stats()
        rows = (after["rows"] - before["rows"]) / (after["forwards"] - before["forwards"])
        self.full = max(self.full, rows / (engine.rows_per_image * self.count))
        return made

    def _at_once(self, mode: EngineMode, jobs: list[GenerationJob]) -> int:
        return len(list(self._pool.map(lambda job: self._render(mode, job), jobs)))

    def _render(self, mode: EngineMode, job: GenerationJob) -> Any:
        return self._engines[mode].render(job, seed=job.seed or 0, on_step=lambda _done, _total: None)

    def _bare(self, seeds: list[int], *, together: bool) -> int:
        """The pipeline as its users call it, in a thread that lives on."""
        calls = [seeds] if together else [[seed] for seed in seeds]
        for each in calls:
            self._thread.submit(self._call, each).result()
        return len(seeds)

    def _call(self, seeds: list[int]) -> None:
        job, engine = self.jobs[0], self._engines[EngineMode.OFF]
        arguments: dict[str, Any] = {
            "prompt": [job.prompt] * len(seeds),
            "width": job.width,
            "height": job.height,
            "num_inference_steps": job.steps,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        }
        if engine.traits.guidance:
            arguments[engine.traits.guidance] = job.guidance_scale
        if engine.traits.blank_negative is not None:
            arguments["negative_prompt"] = [engine.traits.blank_negative] * len(seeds)
        with torch.inference_mode():
            engine.pipe(**arguments)


def main() -> None:
    """Measure the families that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["sd", "sd_128", *(name for name in FAMILIES if name != "sd")]
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.families) - set(names):
        parser.error(f"no family is called {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    torch.set_num_threads(1)
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.families or names:
            measured[name] = _measure(Family(name, Path(folder)), options.rounds)
            print(name, json.dumps(measured[name]), file=sys.stderr, flush=True)
    print(json.dumps({"families": measured}))


def _measure(family: Family, rounds: int) -> dict[str, float]:
    best: dict[str, float] = {}
    ways = family.ways()
    for way in ways.values():  # memory and kernels for this size
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            made = way()
            best[name] = max(best.get(name, 0.0), made / (time.process_time() - started))
    family.close()
    return {
        **{name: round(value, 3) for name, value in best.items()},
        "merge_over_call": round(best["merge"] / best["call"], 3),
        "off_over_bare": round(best["off"] / best["bare"], 3),
        "single_over_bare": round(best["single"] / best["bare"], 3),
        "full": round(family.full, 3),
    }


if __name__ == "__main__":
    main()
