"""A storm over a fleet at work: workers and Redis killed, connections cut, S3 failing, and then a count.

    python -m tests.faults.storm --jobs 1000 --kills 30 [--workers 3] [--lease 5] [--seed 1] [--stock]

About 70 % of the kills are `kill -9` of a random worker, replaced at once; one other is up, since it takes somebody
alive to notice. The rest are `kill -9` of Redis (AOF on), started again at once, and `CLIENT KILL TYPE normal`. 3 % of
the requests to S3 go wrong throughout. With `--stock` the same falls on stock Celery with acks_late. Last line: one
JSON object.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from tests.faults.stock_fleet import StockFleet
from tests.faults.storm_crew import Crew
from tests.faults.storm_jobs import Pixels, references, storm_jobs
from tests.faults.storm_ours import UNREACHABLE, OurFleet
from tests.faults.storm_redelivery import Redeliveries
from tests.support.flaky_s3 import FlakyS3, Weather
from tests.support.fleet import Fleet, running_fleet

from imagefleet import GenerationJob
from imagefleet_worker.children import Child

_TICK_S = 0.05
_LOOK_S = 0.15
_READY = 2
_S3_FAULTS = 0.03


class Contender(Protocol):
    """A fleet as the storm sees it."""

    patience_s: float

    def start_worker(self, name: str) -> Child: ...
    def submit(self, jobs: list[GenerationJob]) -> None: ...
    def ended(self) -> int: ...
    def held_by(self, worker: str) -> list[Hashable]: ...
    def released(self, claims: list[Hashable]) -> Iterable[Hashable]: ...
    def is_idle(self) -> bool: ...
    def count(self, expected: Mapping[int, Pixels]) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Storm:
    """One storm over one contender."""

    def __init__(
        self, contender: Contender, fleet: Fleet, *, jobs: list[GenerationJob], options: argparse.Namespace
    ) -> None:
        self._contender = contender
        self._fleet = fleet
        self._jobs: int = options.jobs
        #: A portion is queued when two workers are up, and the next kill falls into the middle of it.
        self._portions = [jobs[i :: options.kills + 1] for i in range(options.kills + 1)]
        self._kill_at: float | None = None
        self._chance = random.Random(options.seed)
        self._plan = _plan(options.kills, chance=self._chance)
        self._done_kills: Counter[str] = Counter()
        self.redeliveries = Redeliveries(contender.released, grace_s=options.lease)
        self.crew = Crew(options.workers, start=contender.start_worker)
        self._ended = 0
        self._news_at = time.monotonic()
        self._looked_at = 0.0

    def rage(self) -> None:
        """Go on until all jobs have ended, or nothing has happened for as long as the contender may take."""
        pause = threading.Event()
        while self._ended < self._jobs or self.redeliveries.waiting or not self._is_idle():
            if time.monotonic() - self._news_at > self._contender.patience_s:
                return
            self.crew.tend()
            with suppress(*UNREACHABLE):
                self._tick()
            pause.wait(_TICK_S)

    @property
    def kills(self) -> dict[str, int]:
        """How often what was killed."""
        return dict(self._done_kills)

    def _tick(self) -> None:
        now = time.monotonic()
        self.redeliveries.poll(now)
        if now - self._looked_at > _LOOK_S:
            self._looked_at = now
            ended = self._contender.ended()
            if ended != self._ended:
                self._ended, self._news_at = ended, now
        if self._kill_at is None:
            self._feed()
        elif self._ended >= self._kill_at:
            self._kill(self._plan[sum(self._done_kills.values())])

    def _feed(self) -> None:
        if not self._portions or self.crew.ready < _READY:
            return
        portion = self._portions.pop()
        self._contender.submit(portion)
        self._news_at = time.monotonic()
        if self._portions:  # the last one runs out in peace
            self._kill_at = self._ended + len(portion) * self._chance.uniform(0, 0.7)

    def _kill(self, kind: str) -> None:
        if kind == "worker":
            killed = self.crew.kill_one(self._chance)
            if killed is None:
                return
            name, moment = killed
            self.redeliveries.start(self._contender.held_by(name), killed_at=moment)
        elif kind == "redis":
            self._fleet.redis.kill()
            self._fleet.redis.start()
            self.redeliveries.redis_restarted(time.monotonic())
        else:
            with self._fleet.raw() as raw:
                raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self._done_kills[kind] += 1
        self._kill_at = None
        print(f"{self._ended:5} jobs: killed {kind}; {self.crew.ready} workers ready", flush=True)

    def _is_idle(self) -> bool:
        with suppress(*UNREACHABLE):
            return self._contender.is_idle()
        return False


def _plan(kills: int, *, chance: random.Random) -> list[str]:
    workers = round(kills * 0.7)
    redis = (kills - workers + 1) // 2
    plan = ["worker"] * workers + ["redis"] * redis + ["clients"] * (kills - workers - redis)
    chance.shuffle(plan)
    return plan


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one storm and give its figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = stack.enter_context(running_fleet(folder, append_only=True))
        weather = Weather.mixed(_S3_FAULTS)
        flaky = FlakyS3(fleet.s3.endpoint_url, weather=weather, seed=options.seed)
        stack.callback(flaky.close)
        fleet.env["IMAGEFLEET_STORAGE_ENDPOINT_URL"] = flaky.url
        jobs = storm_jobs(options.jobs, webhook_url="http://127.0.0.1:9/nobody-sends-this")
        expected = references(fleet.model, jobs)
        kind = StockFleet if options.stock else OurFleet
        contender: Contender = kind(fleet, lease_s=options.lease)
        stack.callback(contender.close)
        start = time.monotonic()
        storm = Storm(contender, fleet, jobs=jobs, options=options)
        storm.rage()
        seconds = time.monotonic() - start
        return _figures(storm, contender.count(expected), flaky=flaky, options=options) | {"seconds": round(seconds, 1)}


def _figures(storm: Storm, counted: dict[str, Any], *, flaky: FlakyS3, options: argparse.Namespace) -> dict[str, Any]:
    watches = storm.redeliveries
    for words in storm.crew.last_words[:5]:
        print(f"--- a worker ended by itself:\n{words}")
    return {
        "fleet": "stock" if options.stock else "imagefleet",
        **counted,
        "max_redelivery_s": _longest(watches.seconds),
        "redeliveries": len(watches.seconds) + len(watches.seconds_with_restart),
        "max_redelivery_with_redis_restart_s": _longest(watches.seconds_with_restart),
        "never_redelivered": watches.waiting,
        "own_ends": dict(storm.crew.own_ends),
        "s3_requests": flaky.requests,
        "s3_faults": sum(flaky.counts.values()),
        "lease_s": options.lease,
        "jobs": options.jobs,
        "kills": storm.kills,
    }


def _longest(seconds: list[float]) -> float | None:
    return round(max(seconds), 2) if seconds else None


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lease", type=float, default=5, help="seconds; also the stock visibility timeout")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the kills and of the S3 faults")
    parser.add_argument("--stock", action="store_true", help="stock Celery instead of this project")
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
