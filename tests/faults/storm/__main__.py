"""A storm over a fleet at work: workers and Redis killed, connections cut, S3 failing, and then a count.

    python -m tests.faults.storm --jobs 1000 --kills 30 [--workers 3] [--lease 5] [--s3-outage 300] [--seed 1] [--stock]

About 50 % of the kills are `kill -9` of a random worker, replaced at once; one other is up, since it takes somebody
alive to notice. About 10 % are SIGQUIT, at which a worker gives back what it runs, and 10 % are SIGSTOP of a worker for
twice its lease, and SIGCONT. The rest are `kill -9` of Redis (AOF on), started again at once, and
`CLIENT KILL TYPE normal`. Once Redis fails over to its replica behind its address. A fifth of the jobs have countdowns.
3 % of the requests to S3 go wrong throughout, and all of them for `--s3-outage` seconds, in which two kills fall. The
workers are those of one machine: they share the folder of their spool. With `--stock` the same falls on stock Celery
with acks_late. Last line: one JSON object.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.storm.jobs import references, storm_jobs
from tests.faults.storm.ours import OurFleet
from tests.faults.storm.outage import S3Outage
from tests.faults.storm.stock_fleet import StockFleet
from tests.faults.storm.storm import Contender, Storm
from tests.support.fleet.fleet import running_fleet
from tests.support.models.scene_checker import MODEL
from tests.support.servers.flaky_s3_proxy import FlakyS3, Weather
from tests.support.servers.redis_pair import RedisPair

_S3_FAULTS = 0.03


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one storm and give its figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisPair(folder / "pair", append_only=True))
        fleet = stack.enter_context(running_fleet(folder, model=MODEL, env=_environment(redis, folder)))
        weather = Weather.mixed(_S3_FAULTS)
        flaky = FlakyS3(fleet.s3.endpoint_url, weather=weather, seed=options.seed)
        stack.callback(flaky.close)
        fleet.env["IMAGEFLEET_STORAGE_ENDPOINT_URL"] = flaky.url
        jobs = storm_jobs(options.jobs, webhook_url="http://127.0.0.1:9999/nobody-sends-this")
        expected = references(fleet.model, jobs)
        kind = StockFleet if options.stock else OurFleet
        contender: Contender = kind(fleet, lease_s=options.lease, seed=options.seed)
        stack.callback(contender.close)
        start = time.monotonic()
        outage = S3Outage(flaky, seconds=options.s3_outage)
        storm = Storm(contender, redis, outage, jobs=jobs, options=options)
        storm.rage()
        seconds = time.monotonic() - start
        figures = _figures(storm, contender.count(expected), flaky=flaky, options=options)
        return figures | {"s3_outage_s": round(outage.lasted_s, 1), "seconds": round(seconds, 1)}


def _environment(redis: RedisPair, folder: Path) -> dict[str, str]:
    """The variables of the workers of one machine."""
    return {"IMAGEFLEET_REDIS_URL": redis.url, "IMAGEFLEET_STORAGE_SPOOL_FOLDER": str(folder / "spool")}


def _figures(storm: Storm, counted: dict[str, Any], *, flaky: FlakyS3, options: argparse.Namespace) -> dict[str, Any]:
    watches = storm.redeliveries
    for words in storm.workers.last_words[:5]:
        print(f"--- a worker ended by itself:\n{words}")
    return {
        "fleet": "stock" if options.stock else "imagefleet",
        **counted,
        "max_redelivery_s": _longest(watches.seconds),
        "redeliveries": len(watches.seconds) + len(watches.seconds_with_restart),
        "max_redelivery_with_redis_restart_s": _longest(watches.seconds_with_restart),
        "never_redelivered": watches.waiting,
        "own_ends": dict(storm.workers.own_ends),
        "s3_requests": flaky.requests,
        "s3_faults": sum(flaky.counts.values()),
        "lease_s": options.lease,
        "jobs": options.jobs,
        "kills": storm.kills,
        "fail_overs": storm.kills.get("fail_over", 0),
    }


def _longest(seconds: list[float]) -> float | None:
    return round(max(seconds), 2) if seconds else None


def parser() -> argparse.ArgumentParser:
    """The options of a storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lease", type=float, default=5, help="seconds; also the stock visibility timeout")
    parser.add_argument("--s3-outage", type=float, default=300, help="seconds for which S3 is away, once")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the kills and of the S3 faults")
    parser.add_argument("--stock", action="store_true", help="stock Celery instead of this project")
    return parser


def main() -> None:
    """Read the command line, run, print."""
    print(json.dumps(run(parser().parse_args())))


if __name__ == "__main__":
    main()
