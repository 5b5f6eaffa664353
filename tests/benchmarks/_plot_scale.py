"""The picture of docs/scaling.md, from what `tests.benchmarks.scale --out` wrote.

python -m tests.benchmarks._plot_scale scale.json docs/scaling.png
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt


def draw(found: dict[str, Any], path: Path) -> None:
    """How busy devices are kept, what a job costs Redis, and where one Redis is full."""
    figure, (busy, cost, full) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    sizes = [each["workers"] for each in found["series"]]
    busy.plot(sizes, [100 * each["busy_fraction"] for each in found["series"]], marker="o")
    busy.set(title="Devices at work, jobs of 0.5 s", xlabel="devices", ylabel="%", xscale="log", ylim=(0, 102))
    busy.set_xticks(sizes, [str(size) for size in sizes])
    depths = [each["depth"] for each in found["depths"]]
    costs_ms = [each["redis_cpu_ms_per_job"] for each in found["depths"]]
    cost.plot(depths, costs_ms, marker="o")
    cost.set(title="Redis CPU for each job", xlabel="jobs waiting", ylabel="ms", xscale="log")
    cost.set_ylim(0, 1.15 * max(costs_ms))
    idle_s, job_s = found["redis_cpu_ms_per_idle_worker_s"] / 1000, found["redis_cpu_ms_per_job"] / 1000
    lengths = [0.25, 0.5, 1, 2, 5, 10, 30]
    full.plot(lengths, [1 / (idle_s + job_s / length) for length in lengths], marker="o")
    full.set(title="Devices at which one Redis is full", xlabel="seconds of a job", xscale="log", yscale="log")
    marks = [500, 1000, 2000, 5000]
    full.set_yticks(marks, [f"{mark:,}" for mark in marks])
    full.yaxis.set_minor_formatter("")
    full.set_xticks(lengths, [str(length) for length in lengths])
    for axes in (busy, cost, full):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read, draw, write."""
    source, target = sys.argv[1:]
    draw(json.loads(Path(source).read_text()), Path(target))


if __name__ == "__main__":
    main()
