"""The plot of a curve, as a PNG file."""

from pathlib import Path
from typing import Final

from imagefleet_worker.doctor.throughput_curve import Curve

#: Of the file, in pixels.
_WIDTH: Final = 960
_HEIGHT: Final = 840
_DPI: Final = 120
_BLUE: Final = "#1f5f99"
_RED: Final = "#a8402d"


def draw(curve: Curve, path: Path) -> None:
    """Draw images a second, and seconds an image, against rows; *path* becomes a PNG file.

    Raises:
        ImportError: where matplotlib is not installed (the extra `doctor`).
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # of the extra `doctor`

    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, layout="constrained")
    figure.suptitle(f"{curve.width}x{curve.height}, {curve.steps} steps on {curve.device}")
    upper, lower = figure.subplots(2, 1, sharex=True)
    rows = [point.rows for point in curve.points]
    upper.plot(rows, [point.images_per_s for point in curve.points], "o-", color=_BLUE)
    upper.set_ylabel("images a second")
    lower.plot(rows, [point.latency_s for point in curve.points], "o-", color=_RED)
    lower.set_ylabel("seconds an image takes")
    lower.set_xlabel("rows of a joined forward (jobs at once)")
    lower.set_xscale("log", base=2)
    lower.set_xticks(rows, [f"{point.rows:.3g} ({point.jobs})" for point in curve.points])
    lower.minorticks_off()
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, format="png")
