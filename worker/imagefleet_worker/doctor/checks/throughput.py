"""Checks of speed: what joining gives on this device, and a picture of it."""

from typing import Final

from imagefleet_worker.doctor import sample_jobs
from imagefleet_worker.doctor.advice import advise
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, ok, skipped
from imagefleet_worker.doctor.plot import draw
from imagefleet_worker.doctor.throughput_curve import measure

PLOT_NAME: Final = "throughput.png"


def check_throughput(context: CheckContext) -> CheckResult:
    """Images a second and latency against rows, and what to set.

    Raises:
        WorkerError: where the model cannot be loaded or makes no image.
    """
    job = sample_jobs.template_job(context)
    context.curve = measure(context.engine, job, rows=context.rows, say=context.say)
    return advise(context.curve, context.settings.engine)


def draw_plot(context: CheckContext) -> CheckResult:
    """The picture of what `check_throughput` measured, in the folder for results."""
    if context.curve is None:
        return skipped("nothing was measured")
    if context.out is None:
        return skipped("no folder for it: add --out FOLDER")
    path = context.out / PLOT_NAME
    try:
        draw(context.curve, path)
    except ImportError:
        return skipped("matplotlib is not installed: pip install 'imagefleet[doctor]'")
    return ok(f"throughput and latency against rows: {path}", path=str(path))
