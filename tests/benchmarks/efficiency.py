"""The whole worker, queue and upload included, against a loop over the bare pipeline: same device, same jobs, in turn.

    python -m tests.benchmarks.efficiency [--rounds 4] [--jobs 12]

Last line: one JSON object. `off_over_bare` is images a second of a worker in mode off, all jobs queued at once, over
those of the loop, which stores nothing. `merge_single_latency_overhead` is how much longer one job alone takes on the
device in mode merge (`generate_s` of its result) than one call of the bare pipeline. `idle_off` and `idle_merge` are
the parts of the time in which the worker had jobs and its device did nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.support.fleet.fleet import running_fleet
from tests.support.fleet.processes import clean_environment

from imagefleet import Client
from imagefleet_worker.supervision.child_process import free_port

CALL: dict[str, Any] = {"prompt": "a lighthouse at dawn", "width": 256, "height": 256}
STEPS = 20


class Bare:
    """The loop over the bare pipeline, in a process of its own that waits while the worker runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._read()

    def run(self, jobs: int) -> list[float]:
        """Seconds of each of *jobs* calls."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jobs": jobs, "call": {**CALL, "num_inference_steps": STEPS}}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def bare_pipeline(model: Path) -> Generator[Bare]:
    """A bare pipeline that is loaded and warm."""
    command = [sys.executable, "-m", "tests.benchmarks._bare", str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        yield Bare(process)
        process.terminate()


def busy_s(port: int) -> float:
    """Seconds that the device of the worker with metrics on *port* has worked."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return next(each.value for each in samples if each.name == "imagefleet_device_busy_seconds_total")


def all_at_once(client: Client, model: str, jobs: int, port: int) -> tuple[float, float]:
    """Seconds until *jobs* jobs are stored, and the part of them in which the device did nothing."""
    before, start = busy_s(port), time.perf_counter()
    ids = client.submit_many([{**CALL, "model": model, "steps": STEPS, "seed": n} for n in range(jobs)])
    for result in client.as_completed(ids, timeout_s=600):
        result.raise_for_status()
    took_s = time.perf_counter() - start
    return took_s, 1 - (busy_s(port) - before) / took_s


def one_by_one(client: Client, model: str, jobs: int) -> list[float]:
    """Seconds on the device of each of *jobs* jobs, one in flight."""
    took: list[float] = []
    for seed in range(jobs):
        job_id = client.submit({**CALL, "model": model, "steps": STEPS, "seed": seed})
        took.append(client.result(job_id, timeout_s=600).raise_for_status().timings.generate_s)
    return took


def main() -> None:
    """Measure in turn, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=12)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"off": [], "merge": [], "overhead": [], "idle_off": [], "idle_merge": []}
    with ExitStack() as stack:
        fleet = stack.enter_context(
            running_fleet(Path(stack.enter_context(tempfile.TemporaryDirectory())), is_forked=False)
        )
        ports = {mode: free_port() for mode in ("off", "merge")}
        for mode, port in ports.items():
            env = {"IMAGEFLEET_MODEL_ALIAS": mode, "IMAGEFLEET_ENGINE_MODE": mode, "IMAGEFLEET_METRICS_PORT": str(port)}
            fleet.worker(mode, env={**env, "IMAGEFLEET_LEASE_DURATION_S": "30"})
        bare = stack.enter_context(bare_pipeline(fleet.model))
        client = stack.enter_context(fleet.client())
        for model in ports:
            one_by_one(client, model, 1)
        for _ in range(options.rounds):
            bare_s = sum(bare.run(options.jobs))
            for mode, port in ports.items():
                took_s, idle = all_at_once(client, mode, options.jobs, port)
                found[mode].append(bare_s / took_s)
                found[f"idle_{mode}"].append(idle)
            for _ in range(options.jobs):  # job by job, so that what else the machine does hits both
                found["overhead"].append(one_by_one(client, "merge", 1)[0] / bare.run(1)[0] - 1)
    print(
        json.dumps(
            {
                "off_over_bare": round(statistics.median(found["off"]), 3),
                "merge_over_bare": round(statistics.median(found["merge"]), 3),
                "merge_single_latency_overhead": round(statistics.median(found["overhead"]), 4),
                "idle_off": round(statistics.median(found["idle_off"]), 3),
                "idle_merge": round(statistics.median(found["idle_merge"]), 3),
                "jobs": options.jobs * options.rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
