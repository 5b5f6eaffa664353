"""The curve: images a second and seconds an image, against the rows of a joined forward."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from imagefleet.jobs import GenerationJob
from imagefleet_worker.doctor import jobs
from imagefleet_worker.doctor.subject import Subject
from imagefleet_worker.errors import OutOfMemory

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


def measure(subject: Subject) -> Curve:
    """Run 1, 2, 4 ... jobs at once, up to the rows that are asked for.

    Raises:
        WorkerError: where even one job alone cannot be made.
    """
    points: list[Point] = []
    is_cut = False
    job = jobs.alike(subject, 1)[0]
    try:
        points.extend(_points(subject))  # keeps what came before an error
    except OutOfMemory:
        if not points:
            raise
        is_cut = True
    return Curve(
        points=tuple(points),
        width=job.width or 0,
        height=job.height or 0,
        steps=job.steps or 0,
        device=subject.engine.device_name,
        is_cut=is_cut,
    )


def _points(subject: Subject) -> Iterator[Point]:
    count, rows_each = 1, 1.0
    while count * rows_each <= max(subject.rows, rows_each):
        subject.say(f"measuring {count} jobs at once")
        point = _measure_point(subject, count)
        rows_each = point.rows if count == 1 else rows_each
        yield point
        count *= 2


def _measure_point(subject: Subject, count: int) -> Point:
    _run(subject, jobs.alike(subject, count, steps=2))  # memory and kernels for this size
    before = subject.engine.stats()
    rounds: list[tuple[float, list[float]]] = []
    while len(rounds) < _LEAST_ROUNDS or sum(took for took, _ in rounds) < _LEAST_S:
        rounds.append(_run(subject, jobs.alike(subject, count)))
    after = subject.engine.stats()
    return Point(
        jobs=count,
        rows=(after["rows"] - before["rows"]) / max(1, after["forwards"] - before["forwards"]),
        images_per_s=count / statistics.median(took for took, _ in rounds),
        latency_s=statistics.median(each for _, latencies in rounds for each in latencies),
    )


def _run(subject: Subject, made: list[GenerationJob]) -> tuple[float, list[float]]:
    """Seconds until the last of *made* is there, and of each."""
    start = time.perf_counter()

    def render(job: GenerationJob) -> float:
        subject.engine.render(job, seed=job.seed or 0, on_step=lambda _done, _total: None)
        return time.perf_counter() - start

    with ThreadPoolExecutor(len(made)) as pool:
        latencies = list(pool.map(render, made))
    return time.perf_counter() - start, latencies
