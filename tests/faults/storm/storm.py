"""One storm over one contender: jobs come in portions, and each portion is followed by a kill."""

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from tests.faults.storm.jobs import Pixels
from tests.faults.storm.ours import UNREACHABLE
from tests.faults.storm.outage import S3Outage
from tests.faults.storm.redelivery import Redeliveries
from tests.faults.storm.workers import StormWorkers
from tests.support.servers.redis_pair import RedisPair

from imagefleet import GenerationJob
from imagefleet_worker.supervision.child_process import ChildProcess

_TICK_S = 0.05
_LOOK_S = 0.15
_READY = 2


class Contender(Protocol):
    """A fleet as the storm sees it."""

    patience_s: float

    def start_worker(self, name: str) -> ChildProcess: ...
    def submit(self, jobs: list[GenerationJob]) -> None: ...
    def ended(self) -> int: ...
    def held_by(self, worker: str) -> list[Hashable]: ...
    def released(self, claims: list[Hashable]) -> Iterable[Hashable]: ...
    def is_idle(self) -> bool: ...
    def connect_anew(self) -> None: ...
    def count(self, expected: Mapping[int, Pixels]) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Storm:
    """One storm over one contender."""

    def __init__(
        self,
        contender: Contender,
        redis: RedisPair,
        outage: S3Outage,
        *,
        jobs: list[GenerationJob],
        options: argparse.Namespace,
    ) -> None:
        self._contender = contender
        self._redis = redis
        self._outage = outage
        #: The outage begins when a third of the portions have been queued.
        self._outage_at = options.kills * 2 // 3
        self._jobs: int = options.jobs
        self._lease_s: float = options.lease
        #: A portion is queued when two workers are up, and the next kill falls into the middle of it.
        self._portions = [jobs[i :: options.kills + 1] for i in range(options.kills + 1)]
        self._kill_at: float | None = None
        self._chance = random.Random(options.seed)
        self._plan = _plan(options.kills, chance=self._chance)
        self._done_kills: Counter[str] = Counter()
        self.redeliveries = Redeliveries(contender.released, grace_s=options.lease)
        self.workers = StormWorkers(options.workers, start=contender.start_worker)
        self._ended = 0
        self._news_at = time.monotonic()
        self._looked_at = 0.0

    def rage(self) -> None:
        """Go on until all jobs have ended, or nothing has happened for as long as the contender may take."""
        pause = threading.Event()
        while self._ended < self._jobs or self.redeliveries.waiting or self.workers.has_stopped or not self._is_idle():
            if time.monotonic() - self._news_at > self._contender.patience_s:
                return
            self.workers.tend()
            self._outage.tend()
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
            if ended != self._ended or self._outage.is_on:
                self._ended, self._news_at = ended, now
        if self._kill_at is None:
            self._feed()
        elif self._outage.kill_is_due():
            self._kill("worker")
        elif self._ended >= self._kill_at:
            self._kill(self._plan[0])

    def _feed(self) -> None:
        if not self._portions or self.workers.ready < _READY:
            return
        portion = self._portions.pop()
        self._contender.submit(portion)
        self._news_at = time.monotonic()
        if self._portions:  # the last one runs out in peace
            self._kill_at = self._ended + len(portion) * self._chance.uniform(0, 0.7)
        if len(self._portions) == self._outage_at:
            self._outage.begin()
            print(f"{self._ended:5} jobs: S3 is away; {self.workers.ready} workers ready", flush=True)

    def _kill(self, kind: str) -> None:
        if kind in {"worker", "quit", "stop"}:
            killed = self._stop_worker() if kind == "stop" else self._end_worker(asked=kind == "quit")
            if killed is None:
                return
            name, moment = killed
            self.redeliveries.start(self._contender.held_by(name), killed_at=moment)
        elif kind == "redis":
            self._redis.crash()
            self.redeliveries.redis_restarted(time.monotonic())
        elif kind == "fail_over":
            self._redis.fail_over()
            self._contender.connect_anew()
        else:
            self._redis.cut_clients()
        self._done_kills[kind] += 1
        self._plan.remove(kind if kind in self._plan else self._plan[0])
        self._kill_at = None
        print(f"{self._ended:5} jobs: killed {kind}; {self.workers.ready} workers ready", flush=True)

    def _end_worker(self, *, asked: bool) -> tuple[str, float] | None:
        return self.workers.end_one(self._chance, asked=asked)

    def _stop_worker(self) -> tuple[str, float] | None:
        return self.workers.stop_one(self._chance, for_s=2 * self._lease_s)

    def _is_idle(self) -> bool:
        with suppress(*UNREACHABLE):
            return self._contender.is_idle()
        return False


def _plan(kills: int, *, chance: random.Random) -> list[str]:
    quits = stops = round(kills * 0.1)
    workers = round(kills * 0.6) - quits
    others = kills - workers - quits - stops - 1
    redis = (others + 1) // 2
    counts = {
        "worker": workers,
        "quit": quits,
        "stop": stops,
        "redis": redis,
        "clients": others - redis,
        "fail_over": 1,
    }
    plan = [kind for kind, count in counts.items() for _ in range(count)]
    chance.shuffle(plan)
    return plan
