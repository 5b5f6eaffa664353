"""The curve: images a second and seconds an image, against the rows of a joined forward."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.doctor import sample_jobs
from imagefleet_worker.errors import OutOfMemory

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine

#: A point is measured until it has taken this long, and at least twice.
_LEAST_S: Final = 1.0
_LEAST_ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class Point:
    """What *jobs* jobs of one image each came to, all in flight at once."""

    jobs: int
    #: Of a forward, on average: two for each job where the model has guidance in one call.
    rows: float
    images_per_s: float
    #: Seconds of a job on the device, the middle one.
    latency_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of growing numbers of jobs, and what they were measured with."""

    points: tuple[Point, ...]
    width: int
    height: int
    steps: int
    device: str
    #: The device was full at the next point.
    is_cut: bool = False


def measure(engine: "Engine", job: GenerationJob, *, rows: int, say: Callable[[str], None]) -> Curve:
    """Run 1, 2, 4 ... jobs like *job* at once, as long as their forwards have at most *rows* rows.

    Raises:
        WorkerError: where even one job alone cannot be made.
    """
    points: list[Point] = []
    is_cut = False
    try:
        points.extend(_points(engine, job, rows=rows, say=say))  # keeps what came before an error
    except OutOfMemory:
        if not points:
            raise
        is_cut = True
    return Curve(
        points=tuple(points),
        width=job.width or 0,
        height=job.height or 0,
        steps=job.steps or 0,
        device=engine.device_name,
        is_cut=is_cut,
    )


def run_at_once(engine: "Engine", made: list[GenerationJob]) -> tuple[float, list[float]]:
    """Make the images of all jobs, each on a thread; gives the seconds until the last is there, and those of each."""
    start = time.perf_counter()

    def render(job: GenerationJob) -> float:
        engine.render(job, seed=job.seed or 0, on_step=lambda _done, _total: None)
        return time.perf_counter() - start

    with ThreadPoolExecutor(len(made)) as pool:
        latencies = list(pool.map(render, made))
    return time.perf_counter() - start, latencies


def _points(engine: "Engine", job: GenerationJob, *, rows: int, say: Callable[[str], None]) -> Iterator[Point]:
    count, rows_each = 1, 0.0
    while count * rows_each <= rows:
        say(f"measuring {count} jobs at once")
        point = _measure_point(engine, sample_jobs.similar(job, count))
        rows_each = rows_each or point.rows
        yield point
        count *= 2


def _measure_point(engine: "Engine", made: list[GenerationJob]) -> Point:
    run_at_once(engine, [job.model_copy(update={"steps": 2}) for job in made])  # memory and kernels for this size
    before = engine.stats()
    rounds: list[tuple[float, list[float]]] = []
    while len(rounds) < _LEAST_ROUNDS or sum(took for took, _ in rounds) < _LEAST_S:
        rounds.append(run_at_once(engine, made))
    after = engine.stats()
    return Point(
        jobs=len(made),
        rows=(after["rows"] - before["rows"]) / max(1, after["forwards"] - before["forwards"]),
        images_per_s=len(made) / statistics.median(took for took, _ in rounds),
        latency_s=statistics.median(each for _, latencies in rounds for each in latencies),
    )
