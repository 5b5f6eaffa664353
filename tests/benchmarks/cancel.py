"""How long a cancel takes: of a queued job at three depths of the queue, of a group, and of a running job.

    python -m tests.benchmarks.cancel [--rounds 10] [--step-ms 50]

Last line: one JSON object. `queued_10_ms`, `queued_1000_ms` and `queued_100000_ms` are medians from the call of
`cancel` to a read of the status `canceled`, with so many jobs waiting. `group_10000_ms` is one `cancel_group`, and
`group_10000_longest_wait_ms` the longest wait of another client's PING meanwhile. `running_ms` is the median from the
call to the event `canceled` of a job on a real worker with a tiny Stable Diffusion, whose steps take `step_ms` longer
than their own few milliseconds; `running_steps_after_cancel` is the most steps that began after the call had returned.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import redis
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import Client, JobStatus

DEPTHS = (10, 1_000, 100_000)
GROUP = 10_000
JOB = {"prompt": "a cat", "width": 64, "height": 64, "steps": 200}


def queued_ms(fleet: Fleet, client: Client, *, depth: int, rounds: int) -> float:
    """The median at *depth*: of jobs from the middle of the queue."""
    ids = client.submit_many(["a cat"] * depth)
    found: list[float] = []
    for job_id in ids[depth // 2 :][:rounds]:
        began = time.perf_counter()
        client.cancel(job_id)
        if client.status(job_id) is not JobStatus.CANCELED:
            raise AssertionError(f"{job_id} is not canceled")
        found.append(1000 * (time.perf_counter() - began))
    with fleet.raw() as raw:
        raw.flushall()
    return statistics.median(found)


def group_ms(fleet: Fleet, client: Client) -> tuple[float, float]:
    """One cancel of a group, and the longest that another client waited meanwhile."""
    client.submit_many(["a cat"] * GROUP, group="many")
    done, waits = threading.Event(), [0.0]

    def ask(other: "redis.Redis") -> None:
        while not done.wait(0.001):
            began = time.perf_counter()
            other.ping()
            waits.append(1000 * (time.perf_counter() - began))

    with fleet.raw() as other:
        asker = threading.Thread(target=ask, args=(other,))
        asker.start()
        began = time.perf_counter()
        found = client.cancel_group("many")
        took = 1000 * (time.perf_counter() - began)
        done.set()
        asker.join()
        other.flushall()
    if found.canceled != GROUP:
        raise AssertionError(f"{found.canceled} of {GROUP} were canceled")
    return took, max(waits)


def running(client: Client, steps_file: Path, *, rounds: int) -> tuple[int, float]:
    """The most steps that began after a cancel, and the median time until the job had ended, in milliseconds."""
    after: list[int] = []
    took: list[float] = []
    for _ in range(rounds):
        job_id = client.submit(JOB)
        wait_until(lambda job_id=job_id: client.get(job_id).progress, 60)
        began = time.perf_counter()
        client.cancel(job_id)
        canceled_at = time.time()
        result = client.result(job_id, timeout_s=60)
        took.append(1000 * (time.perf_counter() - began))
        if result.status is not JobStatus.CANCELED or result.artifacts:
            raise AssertionError(f"{job_id} is {result.status}")
        begun = [float(line) for line in steps_file.read_text().split()]
        after.append(sum(moment > canceled_at for moment in begun))
    return max(after), statistics.median(took)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--step-ms", type=float, default=50)
    options = parser.parse_args()
    report: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_fleet(Path(folder), is_forked=False) as fleet,
        fleet.client() as client,
    ):
        for depth in DEPTHS:
            rounds = min(options.rounds, depth // 2)
            report[f"queued_{depth}_ms"] = round(queued_ms(fleet, client, depth=depth, rounds=rounds), 2)
        group, wait = group_ms(fleet, client)
        report |= {"group_10000_ms": round(group), "group_10000_longest_wait_ms": round(wait, 1)}
        steps_file = Path(folder) / "steps"
        env = {"STEPS_FILE": str(steps_file), "STEPS_PAUSE_S": str(options.step_ms / 1000)}
        wait_until_ready(fleet.start("gpu0", env=env, options=("-I", "tests.benchmarks._steps")))
        steps, took = running(client, steps_file, rounds=options.rounds)
        report |= {"running_steps_after_cancel": steps, "running_ms": round(took, 1), "step_ms": options.step_ms}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
