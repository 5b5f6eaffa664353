"""Many devices on one Redis: how busy it keeps them, and what that costs it.

    python -m tests.benchmarks.scale [--workers 64] [--quick] [--out scale.json]

Each worker is a process of its own with the real Celery, transport, leases and attempts; its device and S3 are made up
(`_simulated`): a job takes half a second and no CPU, and no torch is loaded, so that two cores and 24 GiB can stand for
64 devices. Last line: one JSON object.

- `busy_fraction_64`: the part of the time in which devices worked while jobs waited (`series` has 1, 2, 4 ... workers).
- `cost_growth_100_to_100000`: Redis CPU for each job with 100,000 jobs waiting, over that with 100; medians of rounds.
- `queue_ms_*`: from submit to claim, with all workers and at 30 % of what they can do.
- `idle_empty_claims_per_job`: claims that found nothing, at that load: several idle workers hear of one message.
- `full_at_devices_*`: the number of devices at which one core of Redis is full, reckoned from its CPU for each idle
  worker and for each job.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tests.benchmarks._many_workers import Team, Used, team

JOB_S = 0.5
LOAD = 0.3
DEPTHS = (100, 1_000, 10_000, 100_000)


class Window(NamedTuple):
    """What happened in a stretch of time."""

    seconds: float
    jobs: int
    busy_s: float
    claims: int
    empty: int
    redis: Used
    workers_cpu_s: float
    machine_percent: float

    def report(self, workers: int) -> dict[str, float]:
        """As numbers for each job, second and worker."""
        jobs = max(self.jobs, 1)
        return {
            "workers": workers,
            "busy_fraction": self.busy_s / self.seconds / workers,
            "jobs_per_s": self.jobs / self.seconds,
            "redis_cpu_percent": 100 * self.redis.cpu_s / self.seconds,
            "redis_cpu_ms_per_job": 1000 * self.redis.cpu_s / jobs,
            "redis_commands_per_job": self.redis.commands / jobs,
            "worker_cpu_ms_per_job": 1000 * self.workers_cpu_s / jobs,
            "empty_claims_per_job": self.empty / jobs,
            "machine_cpu_percent": self.machine_percent,
        }


def watch(group: Team, seconds: float, *, depth: int = 0) -> Window:
    """Look on for *seconds*; where *depth* is given, keep so many jobs waiting."""
    psutil.cpu_percent()
    before, used, cpu_s, start = group.counts(), group.used(), group.workers_cpu_s(), time.monotonic()
    while (left_s := start + seconds - time.monotonic()) > 0:
        if depth:
            group.submit(max(0, depth - group.waiting()))
        time.sleep(min(0.2, max(left_s, 0)))
    after, end = group.counts(), time.monotonic()
    now = group.used()
    pairs = list(zip(before, after, strict=True))
    return Window(
        seconds=end - start,
        jobs=sum(new.jobs - old.jobs for old, new in pairs),
        busy_s=sum(new.busy_until(end) - old.busy_until(start) for old, new in pairs),
        claims=sum(new.claims - old.claims for old, new in pairs),
        empty=sum(new.empty - old.empty for old, new in pairs),
        redis=Used(now.cpu_s - used.cpu_s, now.commands - used.commands, now.memory_bytes),
        workers_cpu_s=group.workers_cpu_s() - cpu_s,
        machine_percent=psutil.cpu_percent(),
    )


def busy(group: Team, workers: int, seconds: float) -> dict[str, float]:
    """All devices have work: as many jobs wait as they can do, and more."""
    group.grow(workers)
    group.submit(int(workers / JOB_S * (seconds + 10)))
    time.sleep(4 * JOB_S)
    found = watch(group, seconds).report(workers)
    group.empty()
    return found


def at_depth(group: Team, workers: int, depth: int, seconds: float) -> dict[str, float]:
    """All devices have work while *depth* jobs wait."""
    group.submit(depth)
    time.sleep(4 * JOB_S)
    group.settle()
    group.submit(max(0, depth - group.waiting()))
    window = watch(group, seconds, depth=depth)
    group.empty()
    return {"depth": depth, "redis_memory_mb": window.redis.memory_bytes / 2**20, **window.report(workers)}


def at_depths(group: Team, options: argparse.Namespace) -> list[dict[str, float]]:
    """Each depth in turn, several times, since a machine has faster and slower minutes: of each the median by cost."""
    wanted = [depth for depth in DEPTHS if depth <= options.depth]
    rounds = [
        [at_depth(group, options.workers, depth, options.seconds) for depth in wanted] for _ in range(options.rounds)
    ]
    return [
        sorted(found, key=lambda each: each["redis_cpu_ms_per_job"])[len(found) // 2]
        for found in zip(*rounds, strict=True)
    ]


def in_passing(group: Team, workers: int, seconds: float) -> dict[str, float]:
    """Jobs come one by one and most devices are idle."""
    chance, ids = random.Random(0), list[str]()
    before, start = group.counts(), time.monotonic()
    while time.monotonic() - start < seconds:
        ids += group.submit(1)
        time.sleep(chance.expovariate(LOAD * workers / JOB_S))
    queued = [1000 * result.timings.queued_s for result in group.client.as_completed(ids, timeout_s=120)]
    empty = sum(new.empty - old.empty for old, new in zip(before, group.counts(), strict=True))
    group.empty()
    ranks = statistics.quantiles(queued, n=100)
    return {"queue_ms_p50": ranks[49], "queue_ms_p95": ranks[94], "idle_empty_claims_per_job": empty / len(ids)}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, with one team that grows."""
    workers, seconds = options.workers, options.seconds
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size < workers] + [workers]
    with team(folder, job_s=JOB_S) as group:
        alone = watch(group, seconds)
        series = [busy(group, size, seconds) for size in sizes]
        idle = watch(group, seconds)
        passing = in_passing(group, workers, seconds)
        depths = at_depths(group, options)
        memory_mb = group.workers_memory_bytes() / 2**20
    idle_share = max(0.0, idle.redis.cpu_s / idle.seconds - alone.redis.cpu_s / alone.seconds) / workers
    job_cpu_s = max(0.0, series[-1]["redis_cpu_ms_per_job"] / 1000 - idle_share / series[-1]["jobs_per_s"] * workers)
    return {
        f"busy_fraction_{workers}": series[-1]["busy_fraction"],
        f"cost_growth_{depths[0]['depth']}_to_{depths[-1]['depth']}": depths[-1]["redis_cpu_ms_per_job"]
        / depths[0]["redis_cpu_ms_per_job"],
        "jobs_per_s": series[-1]["jobs_per_s"],
        **passing,
        "redis_cpu_percent": series[-1]["redis_cpu_percent"],
        "redis_cpu_ms_per_job": 1000 * job_cpu_s,
        "redis_cpu_ms_per_idle_worker_s": 1000 * idle_share,
        "full_at_devices_0.5_s": 1 / (idle_share + job_cpu_s / 0.5),
        "full_at_devices_5_s": 1 / (idle_share + job_cpu_s / 5),
        "worker_memory_mb": memory_mb,
        "series": series,
        "depths": depths,
    }


def main() -> None:
    """Measure, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--depth", type=int, default=100_000, help="the longest queue")
    parser.add_argument("--seconds", type=float, default=10, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each depth is measured, in turn")
    parser.add_argument("--out", type=Path, help="write the object there too, for tests.benchmarks._plot_scale")
    parser.add_argument("--quick", action="store_true", help="4 workers and 1,000 jobs: for trials")
    options = parser.parse_args()
    if options.quick:
        options.workers, options.depth, options.seconds, options.rounds = 4, 1_000, 4, 1
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    text = json.dumps(found, default=float)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
