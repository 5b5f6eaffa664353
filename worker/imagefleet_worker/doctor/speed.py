"""Checks of speed: what joining gives on this device, and a picture of it."""

from typing import Final

from imagefleet_worker.doctor import jobs
from imagefleet_worker.doctor.advice import advise
from imagefleet_worker.doctor.curve import measure
from imagefleet_worker.doctor.findings import Outcome, ok, skipped
from imagefleet_worker.doctor.plot import draw
from imagefleet_worker.doctor.subject import Subject

PLOT_NAME: Final = "throughput.png"


def check_throughput(subject: Subject) -> Outcome:
    """Images a second and latency against rows, and what to set.

    Raises:
        WorkerError: where the model cannot be loaded or makes no image.
    """
    job = jobs.pattern(subject)
    subject.curve = measure(subject.engine, job, rows=subject.rows, say=subject.say)
    return advise(subject.curve, subject.settings.engine)


def draw_plot(subject: Subject) -> Outcome:
    """The picture of what `check_throughput` measured, in the folder for results."""
    if subject.curve is None:
        return skipped("nothing was measured")
    if subject.out is None:
        return skipped("no folder for it: add --out FOLDER")
    path = subject.out / PLOT_NAME
    try:
        draw(subject.curve, path)
    except ImportError:
        return skipped("matplotlib is not installed: pip install 'imagefleet[doctor]'")
    return ok(f"throughput and latency against rows: {path}", path=str(path))
