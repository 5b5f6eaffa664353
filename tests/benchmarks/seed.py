"""The guides' way to use several devices against the fleet: same machine, same model, same jobs, same S3, in turn.

    python -m tests.benchmarks.seed [--quick] [--size 64] [--rounds 5] [--model FOLDER]

Two processes each (or one a GPU, at most two), one torch thread each on the CPU, models loaded and warm before anything
is measured; how long loading took is in `*_start_s`. While one way runs, the processes of the others are stopped: even
waiting, some of them look every 2 ms whether there is work. Theirs is the script of the guides (`_guide`), under
torchrun with `PartialState.split_between_processes` and by `mp.spawn`; of the two forms the faster one counts. Ours is
`imagefleet-worker --devices`. Last line: one JSON object; speedups are their time over ours, medians of the rounds.

- a: 64 equal jobs at once. b: 64 jobs of 4, 8, 20 or 50 steps. From the order or submit to the last image in S3.
- c: jobs as in (b) that arrive over time, at 70 % of the rate that the guides' way has in (b), which is run again and
  again on what has gathered. From each arrival to its image. `c_equal_*`: with jobs and rate as in (a).
- d: one process is killed half way through (a): the images that never come.
- `a_batched_speedup`: theirs with the jobs of (a) as one call of the pipeline for every 8, which a user can write where
  all jobs are equal.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.benchmarks._two_ways import Guide, Job, Workers, workers
from tests.support.fleet.fleet import running_fleet

STEPS = 20
MIXED_STEPS = (4, 8, 20, 50)
LOAD = 0.7
Way = TypeVar("Way", bound=Guide | Workers)


class Jobs:
    """Makes jobs whose keys are never used twice."""

    def __init__(self, size: int) -> None:
        self._size, self._count, self._chance = size, 0, random.Random(0)

    def equal(self, count: int) -> list[Job]:
        """Jobs of the same number of steps."""
        return [self._one(STEPS) for _ in range(count)]

    def mixed(self, count: int) -> list[Job]:
        """Jobs of steps drawn at random."""
        return [self._one(self._chance.choice(MIXED_STEPS)) for _ in range(count)]

    def _one(self, steps: int) -> Job:
        self._count += 1
        prompt = f"a lighthouse at dusk, picture {self._count}"
        return {"key": f"{self._count:05}", "prompt": prompt, "steps": steps, "seed": self._count, "size": self._size}


class Race:
    """Both ways on one machine, and what they took."""

    def __init__(self, stack: ExitStack, *, options: argparse.Namespace) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = stack.enter_context(running_fleet(folder, is_forked=False))
        if options.model:
            fleet.model = options.model.resolve()
        self._jobs, self._rounds, self._count = Jobs(options.size), options.rounds, options.jobs
        self.guides: dict[str, Guide] = {}
        for form in ("accelerate", "spawn"):
            self.guides[form] = Guide(fleet, form, folder)
            stack.callback(self.guides[form].close)
        client = stack.enter_context(fleet.client())
        self.fleets: dict[str, Workers] = {
            mode: stack.enter_context(workers(fleet, client, mode)) for mode in ("merge", "off")
        }
        self._ways: list[Guide | Workers] = [*self.guides.values(), *self.fleets.values()]
        for way in self._ways:
            with self._alone(way) as each:
                each.run(self._jobs.equal(4))

    def at_once(self, *, mixed: bool) -> dict[str, float]:
        """The median seconds of each way for all jobs at once, by turns."""
        make = self._jobs.mixed if mixed else self._jobs.equal
        took: dict[str, list[float]] = {}
        for _ in range(self._rounds):
            work = make(self._count)
            for guide, ours in zip(("accelerate", "spawn"), ("merge", "off"), strict=True):
                with self._alone(self.guides[guide]) as theirs:
                    took.setdefault(guide, []).append(theirs.run(self._renamed(work)))
                with self._alone(self.fleets[ours]) as fleet:
                    took.setdefault(ours, []).append(fleet.run(work))
            if not mixed:
                with self._alone(self.guides["accelerate"]) as theirs:
                    took.setdefault("batched", []).append(theirs.run(self._renamed(work), batch=8))
        return {way: statistics.median(seconds) for way, seconds in took.items()}

    def over_time(self, *, mixed: bool, per_s: float) -> dict[str, list[float]]:
        """The seconds of each image, of theirs and ours, by turns; so many jobs arrive in a second."""
        make = self._jobs.mixed if mixed else self._jobs.equal
        took: dict[str, list[float]] = {"theirs": [], "ours": []}
        chance = random.Random(1)
        for _ in range(self._rounds):
            gaps_s = [chance.expovariate(per_s) for _ in range(self._count)]
            work = make(self._count)
            with self._alone(self.guides["accelerate"]) as theirs:
                took["theirs"] += theirs.arriving(self._renamed(work), gaps_s)
            with self._alone(self.fleets["merge"]) as fleet:
                took["ours"] += fleet.arriving(work, gaps_s)
        return took

    def lost(self) -> tuple[int, int]:
        """The images that never come, of ours and theirs."""
        with self._alone(self.fleets["merge"]) as fleet:
            ours = fleet.lost_after_kill(self._jobs.equal(self._count))
        with self._alone(self.guides["accelerate"]) as theirs:
            return ours, theirs.lost_after_kill(self._jobs.equal(self._count))

    @contextmanager
    def _alone(self, way: Way) -> Generator[Way]:
        """*way*, while the processes of all others are stopped."""
        others = [each for each in self._ways if each is not way]
        for each in others:
            each.pause(yes=True)
        try:
            yield way
        finally:
            for each in others:
                each.pause(yes=False)

    def _renamed(self, work: list[Job]) -> list[Job]:
        """The same jobs under new keys."""
        return [{**job, "key": new["key"]} for job, new in zip(work, self._jobs.equal(len(work)), strict=True)]


def main() -> None:
    """Measure in turn, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round of 16 jobs: for trials")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.jobs = 1, 16
    started = time.monotonic()
    with ExitStack() as stack:
        race = Race(stack, options=options)
        equal, mixed = race.at_once(mixed=False), race.at_once(mixed=True)
        arriving = race.over_time(mixed=True, per_s=LOAD * options.jobs / _theirs_s(mixed))
        arriving_equal = race.over_time(mixed=False, per_s=LOAD * options.jobs / _theirs_s(equal))
        lost, lost_by_guide = race.lost()
        starts = {name: way.start_s for name, way in {**race.guides, **race.fleets}.items()}
    report = {**_speedups("a", equal), **_speedups("b", mixed), **_percentiles("c", arriving)}
    report |= _percentiles("c_equal", arriving_equal)
    report["a_batched_speedup"] = equal["batched"] / equal["merge"]
    report |= {"d_lost": lost, "d_lost_by_guide": lost_by_guide}
    report |= {f"a_{way}_s": seconds for way, seconds in equal.items()}
    report |= {f"b_{way}_s": seconds for way, seconds in mixed.items()}
    report |= {f"{way}_start_s": seconds for way, seconds in starts.items()}
    report |= {"jobs": options.jobs, "rounds": options.rounds, "took_s": time.monotonic() - started}
    print(json.dumps({name: round(value, 3) for name, value in report.items()}))


def _theirs_s(took: dict[str, float]) -> float:
    return min(took["accelerate"], took["spawn"])


def _speedups(part: str, took: dict[str, float]) -> dict[str, float]:
    return {f"{part}_{mode}_speedup": _theirs_s(took) / took[mode] for mode in ("merge", "off")}


def _percentiles(part: str, arriving: dict[str, list[float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, rank in (("p50", 49), ("p95", 94)):
        theirs, ours = (statistics.quantiles(arriving[way], n=100)[rank] for way in ("theirs", "ours"))
        found |= {f"{part}_{name}_speedup": theirs / ours, f"{part}_{name}_theirs_s": theirs}
    return found


if __name__ == "__main__":
    main()
