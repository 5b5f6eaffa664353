"""What the fleet adds to a job, against a no-op task on stock Celery, in one run, in turn.

    python -m tests.benchmarks.overhead [--rounds 15] [--jobs 30]

Last line: one JSON object. `overhead_ratio` is our round trip less the time in generate, encode and upload, over stock
Celery's whole round trip with a task that does nothing (medians); `enqueue_speedup` is stock Celery's loop of `delay()`
over our `submit_many`, per job.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks._stock import app as stock
from tests.benchmarks._stock import noop
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import running_worker

from imagefleet import Client

JOB = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1}


@contextmanager
def both_workers(folder: Path) -> Iterator[tuple[Fleet, Client]]:
    """Our worker and a stock one, on the same Redis."""
    with running_fleet(folder, is_forked=False) as fleet:
        stock.conf.update(broker_url=fleet.redis.url, result_backend=fleet.redis.url)
        env = {"STOCK_REDIS_URL": fleet.redis.url}
        options = ("-P", "threads", "-c", "8", "-Q", "stock", "--loglevel", "INFO")
        with running_worker(env, folder, name="stock", app="tests.benchmarks._stock", options=options, is_forked=False):
            fleet.worker("ours", env={"IMAGEFLEET_LEASE_DURATION_S": "30"})
            with fleet.client() as client:
                yield fleet, client


def our_overhead_s(client: Client) -> float:
    """One job's round trip less the work itself, in seconds."""
    start = time.perf_counter()
    result = client.result(client.submit(JOB), timeout_s=60).raise_for_status()
    timings = result.timings
    return time.perf_counter() - start - timings.generate_s - timings.encode_s - timings.upload_s


def stock_round_trip_s() -> float:
    """One no-op task's round trip, in seconds."""
    start = time.perf_counter()
    noop.delay().get(timeout=60)
    return time.perf_counter() - start


def enqueue_s(client: Client, count: int) -> tuple[float, float]:
    """Seconds to queue one job, ours and stock; onto queues that nobody consumes."""
    start = time.perf_counter()
    client.submit_many([{**JOB, "model": "nobody"} for _ in range(count)])
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(count):
        noop.apply_async(queue="stock-nobody")
    return ours / count, (time.perf_counter() - start) / count


def main() -> None:
    """Measure, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=30)
    options = parser.parse_args()
    ours: list[float] = []
    theirs: list[float] = []
    enqueues: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, both_workers(Path(folder)) as (_, client):
        our_overhead_s(client)
        stock_round_trip_s()
        for _ in range(options.rounds):
            ours += [our_overhead_s(client) for _ in range(options.jobs)]
            theirs += [stock_round_trip_s() for _ in range(options.jobs)]
            enqueues.append(enqueue_s(client, 1000))
        stock.close()
    speedups = [stock_s / our_s for our_s, stock_s in enqueues]
    print(
        json.dumps(
            {
                "overhead_ratio": round(statistics.median(ours) / statistics.median(theirs), 3),
                "overhead_ms": round(1000 * statistics.median(ours), 2),
                "stock_round_trip_ms": round(1000 * statistics.median(theirs), 2),
                "enqueue_speedup": round(statistics.median(speedups), 2),
                "enqueue_us_per_job": round(1e6 * statistics.median(our_s for our_s, _ in enqueues), 1),
                "jobs": len(ours),
            }
        )
    )


if __name__ == "__main__":
    main()
