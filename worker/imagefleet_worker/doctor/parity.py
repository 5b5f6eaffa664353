"""The check of parity: a job's image must not depend on the jobs beside it."""

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import numpy as np

from imagefleet.jobs import GenerationJob
from imagefleet_worker.doctor import jobs
from imagefleet_worker.doctor.findings import Outcome, failed, ok, warning
from imagefleet_worker.doctor.subject import LEAST_JOBS, Subject
from imagefleet_worker.settings import EngineMode

_LEAST_PATIENCE_S: Final = 5.0
_LEAST_STEPS: Final = 3
#: In float32: of 255.
_TOLERANCE: Final = 1
#: In shorter formats larger forwards round otherwise. As parts of the distance between two images of different seeds;
#: with the outputs of a tiny model mixed up between jobs at each of three steps it was 0.2.
_CLOSE: Final = 0.03
_FAR: Final = 0.1

Pixels = np.ndarray[Any, np.dtype[np.int16]]


def check_parity(subject: Subject) -> Outcome:
    """Whether the engine makes the same images alone and joined.

    Raises:
        WorkerError: where the model cannot be loaded or makes no image.
    """
    engine = subject.engine
    short = jobs.pattern(subject).model_copy(update={"steps": _LEAST_STEPS})
    made = jobs.different(short, LEAST_JOBS)
    subject.say(f"{LEAST_JOBS} jobs alone, then joined")
    start = time.perf_counter()
    alone = [_pixels(subject, job) for job in made]
    before = engine.stats()
    joined = _joined(subject, made, patience_s=_LEAST_PATIENCE_S + time.perf_counter() - start)
    after = engine.stats()
    if after["calls"] - before["calls"] == after["forwards"] - before["forwards"]:
        return warning(
            "the calls of this model's jobs cannot be joined, so each job runs alone",
            joined=False,
            mode=subject.mode.value,
        )
    return _judge(subject, alone=np.stack(alone), joined=np.stack(joined))


def _judge(subject: Subject, *, alone: Pixels, joined: Pixels) -> Outcome:
    from imagefleet_worker.device import choose_device, choose_dtype  # noqa: PLC0415  # torch takes seconds

    model = subject.settings.model
    dtype = str(choose_dtype(model.dtype, device=choose_device(model.device))).removeprefix("torch.")
    most = int(np.abs(alone - joined).max())
    share = float(np.abs(alone - joined).mean() / max(1e-9, np.abs(alone - np.roll(alone, 1, axis=0)).mean()))
    facts = {"mode": subject.mode.value, "dtype": dtype, "max_difference_of_255": most, "share": round(share, 5)}
    if subject.mode is EngineMode.REPRODUCIBLE:
        if most:
            return failed(f"mode reproducible, and yet a joined image differs by {most} of 255: report this", **facts)
        return ok("mode reproducible: joined images are those made alone, bit for bit", **facts)
    if dtype == "float32":
        if most > _TOLERANCE:
            return failed(_ADVICE_OFF.format(f"by {most} of 255"), **facts)
        return ok(f"joined images are within {most} of 255 of those made alone", **facts)
    return _judge_short(share, dtype, facts)


_ADVICE_OFF: Final = (
    "a joined image differs from the one made alone {}: set IMAGEFLEET_ENGINE_MODE=off for this model, and report this"
)


def _judge_short(share: float, dtype: str, facts: dict[str, Any]) -> Outcome:
    measure = f"by {share:.1%} of the distance between two images"
    if share > _FAR:
        return failed(_ADVICE_OFF.format(measure), **facts)
    if share > _CLOSE:
        return warning(
            f"in {dtype} a joined image differs from the one made alone {measure}; where that matters, "
            "set IMAGEFLEET_ENGINE_MODE=reproducible",
            **facts,
        )
    return ok(f"in {dtype} joined images differ from those made alone {measure}", **facts)


def _joined(subject: Subject, made: list[GenerationJob], *, patience_s: float) -> list[Pixels]:
    """The images of *made* at once: prompts are encoded one by one, so the first to start wait for the last."""
    start = threading.Barrier(len(made))

    def on_step(done: int, _total: int) -> None:
        if done == 1:
            with suppress(threading.BrokenBarrierError):  # not all fit at once: then they go on as they can
                start.wait(patience_s)

    with ThreadPoolExecutor(len(made)) as pool:
        return list(pool.map(functools.partial(_pixels, subject, on_step=on_step), made))


def _go_on(_done: int, _total: int) -> None:
    pass


def _pixels(subject: Subject, job: GenerationJob, *, on_step: Callable[[int, int], None] = _go_on) -> Pixels:
    image = subject.engine.render(job, seed=job.seed or 0, on_step=on_step)[0]
    return np.asarray(image).astype(np.int16)
