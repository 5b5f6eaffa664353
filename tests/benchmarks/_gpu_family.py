"""One family of the GPU benchmark: a pipeline of real size with random weights, bare and through the engine."""

import statistics
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from tests.support.models.real_sizes import Sizes

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.hardware.torch_device import free_memory, synchronize
from imagefleet_worker.settings import EngineSettings, ModelSettings

_ROUNDS = 3
PROMPT = "a red fox"
Say = Callable[[str], None]


class FamilyBench:
    """Measures *pipe*, which nobody else uses, on *device*."""

    def __init__(self, pipe: Any, sizes: Sizes, *, device: torch.device, say: Say) -> None:
        self._pipe, self._sizes, self._device, self._say = pipe, sizes, device, say

    def measure(self) -> dict[str, Any]:
        """What the benchmark prints of one family: images a second, seconds, ratios."""
        count = self._sizes.jobs
        bare_s = self._bare_s()
        self._say(f"bare: {bare_s:.3f} s")
        static = count / self._best(lambda: self._call(count))
        self._say(f"one call of {count}: {static:.3f} images/s")
        merged = self._engine("merge", graphs="auto")
        plain_s = self._engine("merge", graphs="off", only_single=True)["single_s"]
        off = self._engine("off", graphs="auto", count=4)
        return {
            "size": f"{self._sizes.side}x{self._sizes.side}",
            "steps": self._sizes.steps,
            "jobs": count,
            "bare_s": round(bare_s, 4),
            "bare": round(1 / bare_s, 4),
            "static": round(static, 4),
            "off": off["images_per_s"],
            "merge": merged["images_per_s"],
            "single_s": merged["single_s"],
            "single_without_graphs_s": plain_s,
            "graphs": merged["graphs"],
            "rows_of_a_forward": merged["rows"],
            "warm_up_s": merged["warm_up_s"],
            "joining_refused": merged["joining_refused"],
            "merge_over_static": round(merged["images_per_s"] / static, 3),
            "off_over_bare": round(off["images_per_s"] * bare_s, 3),
            "single_over_bare": round(merged["single_s"] / bare_s, 3),
        }

    def _bare_s(self) -> float:
        self._call(1)
        return statistics.median(self._seconds(lambda: self._call(1)) for _ in range(_ROUNDS))

    def _call(self, count: int) -> None:
        """The pipeline as its users call it."""
        self._pipe(
            prompt=[PROMPT] * count,
            width=self._sizes.side,
            height=self._sizes.side,
            num_inference_steps=self._sizes.steps,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(count)],
        )

    def _engine(self, mode: str, *, graphs: str, count: int | None = None, only_single: bool = False) -> dict[str, Any]:
        with self._loaded(mode, graphs) as engine:
            started = time.perf_counter()
            engine.warm_up()
            warm_up_s = time.perf_counter() - started
            single_s = statistics.median(self._seconds(lambda: self._at_once(engine, 1)) for _ in range(_ROUNDS))
            found: dict[str, Any] = {"single_s": round(single_s, 4), "warm_up_s": round(warm_up_s, 2)}
            self._say(f"{mode}, graphs {graphs}: warm-up {warm_up_s:.1f} s, one job {single_s:.3f} s")
            if only_single:
                return found
            jobs = count or self._sizes.jobs
            took_s = self._best(lambda: self._at_once(engine, jobs))
            before = engine.stats()
            self._at_once(engine, jobs)
            after = engine.stats()
            rows = (after["rows"] - before["rows"]) / max(1, after["forwards"] - before["forwards"])
            captured = engine.shared.runner.graphs
            self._say(f"{mode}: {jobs / took_s:.3f} images/s")
            return {
                **found,
                "images_per_s": round(jobs / took_s, 4),
                "rows": round(rows, 1),
                "graphs": captured.count if captured else 0,
                "joining_refused": bool(after["joining_refused"]),
            }

    @contextmanager
    def _loaded(self, mode: str, graphs: str) -> Generator[Engine]:
        rows = self._sizes.rows_each * self._sizes.jobs
        settings = EngineSettings.model_validate(
            {"mode": mode, "cuda_graphs": graphs, "max_jobs": self._sizes.jobs, "max_rows": rows}
            | {"max_pixels": sys.maxsize}
        )
        size = f"{self._sizes.side}x{self._sizes.side}"
        engine = Engine(self._pipe, model=ModelSettings(default_size=size), engine=settings, revision="random")
        try:
            yield engine
        finally:
            engine.close()
            free_memory()

    def _at_once(self, engine: Engine, count: int) -> None:
        """Each job from a thread of its own, as in a worker."""
        size = {"width": self._sizes.side, "height": self._sizes.side, "steps": self._sizes.steps}
        job = engine.check(GenerationJob(prompt=PROMPT, **size))
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda seed: engine.render(job, seed=seed, on_step=lambda _done, _total: None), range(count)))

    def _best(self, work: Callable[[], object]) -> float:
        work()
        return min(self._seconds(work) for _ in range(2))

    def _seconds(self, work: Callable[[], object]) -> float:
        synchronize(self._device)
        started = time.perf_counter()
        work()
        synchronize(self._device)
        return time.perf_counter() - started
