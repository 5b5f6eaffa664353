"""What a worker and Redis keep of the jobs that have ended: nothing, in the long run.

    python -m tests.benchmarks.soak [--jobs 9600] [--wave 80]

Waves of tiny jobs of all sorts go through one worker: sizes, formats, numbers of images, failures, cancels, deadlines,
countdowns, webhooks, and messages of a Celery app that waits for results. Results stay in Redis for two seconds. Last
line: one JSON object. `bytes_per_job` is the growth of the worker's resident memory over the second half of the run;
each sample is the least of twenty seconds, in which the worker has given back what it does not use. `fds` and `threads`
are those at its middle and at its end; `redis_keys_per_job` is what is left for each job when the results have expired.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery
from tests.benchmarks._process_watch import ProcessWatch
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract.queues import queue_for
from imagefleet.store.keys import Keys

_TTL_S = 2
_WAVE_TIMEOUT_S = 300
_SIDES = (64, 80, 96)
_FORMATS = ("png", "jpeg", "webp")
#: Out of a hundred jobs, so many of each sort; all others succeed.
_SORTS = {"celery": 10, "cancel": 8, "failure": 8, "webhook": 10, "late": 4, "countdown": 4}
KEYS = Keys()


class Soak:
    """Waves of jobs over one fleet."""

    def __init__(self, fleet: Fleet, client: Client, app: Celery, receiver: Receiver, *, seed: int) -> None:
        self._fleet = fleet
        self._client = client
        self._app = app
        self._receiver = receiver
        self._chance = random.Random(seed)
        self.sorts: Counter[str] = Counter()

    def wave(self, count: int) -> None:
        """Send *count* jobs, and wait until nothing is left of them but their results."""
        results: list[Any] = []
        for number in range(count):
            sort = self._chance.choices((*_SORTS, "success"), weights=(*_SORTS.values(), 100 - sum(_SORTS.values())))[0]
            self.sorts[sort] += 1
            results += self._send(sort, self._job(number))
        for result in results:
            result.get(timeout=_WAVE_TIMEOUT_S, propagate=False)
        with self._fleet.raw() as raw:
            wait_until(lambda: _is_idle(raw), _WAVE_TIMEOUT_S, every_s=0.05)
        self._receiver.requests.clear()

    def _job(self, number: int) -> dict[str, Any]:
        chance = self._chance
        return {
            "prompt": f"a fox, number {number}",
            "width": chance.choice(_SIDES),
            "height": chance.choice(_SIDES),
            "steps": chance.randint(1, 3),
            "num_images": chance.choice((1, 1, 1, 2)),
            "format": chance.choice(_FORMATS),
            "guidance_scale": chance.choice((1.0, 5.0, 7.5)),
        }

    def _send(self, sort: str, job: dict[str, Any]) -> Iterator[Any]:
        """Send one job; gives the results that must be waited for."""
        match sort:
            case "celery" | "countdown":
                eta = {"countdown": 1} if sort == "countdown" else {}
                options: dict[str, Any] = {"queue": queue_for("default"), **eta}
                yield self._app.send_task("imagefleet.generate", kwargs={"job": job}, **options)
            case "cancel":
                self._client.cancel(self._client.submit({**job, "steps": 20}))
            case "failure":
                self._client.submit({**job, "scheduler": "NoSuchScheduler"})
            case "webhook":
                self._client.submit({**job, "webhook": {"url": self._receiver.url}})
            case "late":
                self._client.submit({**job, "deadline": datetime.now(UTC) + timedelta(milliseconds=200)})
            case _:
                self._client.submit(job)


def _is_idle(raw: Any) -> bool:
    """Whether no message waits, or is in work."""
    lists = (*KEYS.lists(queue_for("default")), KEYS.deliveries)
    return not (raw.exists(KEYS.claims, KEYS.delayed, *lists))


def _job_keys(raw: Any) -> list[str]:
    """The keys that jobs have left."""
    kinds = tuple(f"imagefleet:{kind}:" for kind in ("job", "preview", "group", "device"))
    return [key for key in raw.scan_iter(count=1000) if key.startswith((*kinds, "celery-task-meta-"))]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the soak and give its figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {"IMAGEFLEET_REDIS_RESULT_TTL_S": str(_TTL_S), "IMAGEFLEET_LEASE_DURATION_S": "30"}
        fleet = stack.enter_context(running_fleet(folder, env=env, is_forked=False))
        worker = fleet.worker()
        fleet.sender()
        client = stack.enter_context(fleet.client())
        app = stack.enter_context(Celery("soak", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False))
        receiver = Receiver()
        stack.callback(receiver.close)
        soak, watch = Soak(fleet, client, app, receiver, seed=options.seed), ProcessWatch(worker.pid)
        stack.enter_context(watch.looking())
        start = time.monotonic()
        for done in range(0, options.jobs, options.wave):
            soak.wave(options.wave)
            fleet.s3.empty()
            sample = watch.note(done + options.wave)
            print(
                f"{sample.jobs:6} jobs: {sample.resident / 2**20:.1f} MiB, {sample.fds} fds, {sample.threads} threads"
            )
        seconds = time.monotonic() - start
        with fleet.raw() as raw:
            wait_until(lambda: not _job_keys(raw) or time.monotonic() - start > seconds + 10 * _TTL_S, 60, every_s=0.5)
            left = len(_job_keys(raw))
    return _figures(watch, soak, left=left, seconds=seconds)


def _figures(watch: ProcessWatch, soak: Soak, *, left: int, seconds: float) -> dict[str, Any]:
    middle, last = watch.second_half()[0], watch.samples[-1]
    return {
        "bytes_per_job": round(watch.bytes_per_job()),
        "resident_mib": [round(each.resident / 2**20, 1) for each in (watch.samples[0], middle, last)],
        "fds": [middle.fds, last.fds],
        "threads": [middle.threads, last.threads],
        "redis_keys_per_job": round(left / last.jobs, 4),
        "jobs": last.jobs,
        "sorts": dict(soak.sorts),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=9600)
    parser.add_argument("--wave", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
