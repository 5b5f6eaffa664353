"""Advice: what a curve means for the settings, in plain words."""

from typing import Final

from pydantic import JsonValue

from imagefleet_worker.batching.budget import denoiser_budget, must_calibrate
from imagefleet_worker.doctor.outcome import CheckResult, ok, warning
from imagefleet_worker.doctor.throughput_curve import Curve, Point
from imagefleet_worker.settings import EngineMode, EngineSettings

#: Less is noise, or not worth a longer wait for each job.
_WORTH: Final = 1.1
#: The fewest rows that come so near to the best are the best: every further row only makes jobs slower.
_ENOUGH: Final = 0.95


def advise(curve: Curve, served: EngineSettings) -> CheckResult:
    """What to set for this model on this device; a warning where what is set wastes much of it."""
    alone, knee = curve.points[0], _knee(curve)
    gain = knee.images_per_s / alone.images_per_s
    facts: dict[str, JsonValue] = {
        "gain": round(gain, 3),
        "points": [_as_mapping(point) for point in curve.points],
        "size": f"{curve.width}x{curve.height}",
        "steps": curve.steps,
    }
    sentence = f"{_shape(curve)}: one job alone {alone.images_per_s:.3g} images/s, {alone.latency_s:.3g} s each"
    if gain < _WORTH:
        advice = (
            "Joining gives nothing here" if len(curve.points) > 1 else "Ask for more --rows to see what joining gives"
        )
        return ok(f"{sentence}. {advice}{_cut(curve)}", **facts)
    sentence += (
        f"; {knee.jobs} at once {knee.images_per_s:.3g} images/s ({gain:.2f} times), {knee.latency_s:.3g} s each"
    )
    variables = _variables(curve, knee, served)
    facts["advised"] = dict(variables)
    listed = ", ".join(f"{name}={value}" for name, value in variables.items())
    sentence += f". Set {listed}{_more(curve, knee)}{_cut(curve)}"
    wasted = _wasted(curve, knee, served)
    return warning(f"{sentence}. {wasted}", **facts) if wasted else ok(sentence, **facts)


def _knee(curve: Curve) -> Point:
    best = max(point.images_per_s for point in curve.points)
    return next(point for point in curve.points if point.images_per_s >= _ENOUGH * best)


def _variables(curve: Curve, knee: Point, served: EngineSettings) -> dict[str, str]:
    """What makes the worker reach *knee*."""
    rows = max(1, round(knee.jobs * curve.points[0].rows))
    if served.mode is EngineMode.REPRODUCIBLE:  # its rows are part of what it promises: another number, other bytes
        return {"IMAGEFLEET_ENGINE_MAX_JOBS": str(knee.jobs)}
    return {
        "IMAGEFLEET_ENGINE_MODE": EngineMode.MERGE.value,
        "IMAGEFLEET_ENGINE_MAX_ROWS": str(rows),
        "IMAGEFLEET_ENGINE_MAX_PIXELS": str(rows * curve.width * curve.height),
        "IMAGEFLEET_ENGINE_MAX_JOBS": str(knee.jobs),
    }


def _wasted(curve: Curve, knee: Point, served: EngineSettings) -> str:
    """What the settings in force leave unused; empty where that is little."""
    if served.mode is EngineMode.OFF:
        return "IMAGEFLEET_ENGINE_MODE is off"
    reached = [p for p in curve.points if p.jobs <= served.max_jobs and p.rows <= _most_rows(curve, served)]
    best = max((point.images_per_s for point in reached), default=curve.points[0].images_per_s)
    if knee.images_per_s < _WORTH * best:
        return ""
    return f"What is set ({served.max_jobs} jobs, {_most_rows(curve, served)} rows) reaches {best:.3g} images/s"


def _most_rows(curve: Curve, served: EngineSettings) -> int:
    """Rows of one forward at this size, as far as they are set; what a worker measures itself is taken to be right."""
    if served.mode is EngineMode.REPRODUCIBLE:
        return served.reproducible_rows
    measures = must_calibrate(served, device="cpu" if curve.device.startswith("cpu") else "cuda")
    return served.max_rows if measures else denoiser_budget(served).rows(curve.width * curve.height)


def _more(curve: Curve, knee: Point) -> str:
    is_last = knee is curve.points[-1] and not curve.is_cut
    return "; it still grows there, so try --rows with twice as many" if is_last else ""


def _cut(curve: Curve) -> str:
    return "; for more jobs the device's memory is too small" if curve.is_cut else ""


def _shape(curve: Curve) -> str:
    return f"{curve.width}x{curve.height}, {curve.steps} steps on {curve.device}"


def _as_mapping(point: Point) -> dict[str, JsonValue]:
    return {
        "jobs": point.jobs,
        "rows": round(point.rows, 3),
        "images_per_s": round(point.images_per_s, 4),
        "latency_s": round(point.latency_s, 4),
    }
