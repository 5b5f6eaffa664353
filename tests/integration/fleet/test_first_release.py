"""What the first release left in Redis is understood by the workers and the client of today."""

import json
from pathlib import Path
from typing import Any

from redis.client import Pipeline
from tests.support.fleet.fleet import Fleet
from tests.support.waiting import wait_until

#: All keys after its client had submitted two jobs, one of them urgent and of a tenant.
STATE = json.loads(Path(__file__).with_name("first_release.json").read_text())


def restore(raw: Pipeline, key: str, kind: str, value: Any) -> None:
    """Write one key as it was."""
    if kind == "string":
        raw.set(key, value)
    elif kind == "hash":
        raw.hset(key, mapping=value)
    elif kind == "set":
        raw.sadd(key, *value)
    elif kind == "zset":
        raw.zadd(key, value)
    else:
        raw.rpush(key, *value)


def test_waiting_jobs_of_the_first_release_are_made(watched_fleet: Fleet) -> None:
    with watched_fleet.raw() as raw, watched_fleet.client() as client:
        with raw.pipeline(transaction=True) as at_once:  # its script wrote them in one step; a worker is waiting
            for each in STATE:
                restore(at_once, each["key"], each["type"], each["value"])
            at_once.execute()

        results = [client.result(f"first-release-{number}", timeout_s=60).raise_for_status() for number in (1, 2)]

        assert [result.artifacts[0].seed for result in results] == [7, 8]
        assert results[0].metadata == {"order": "7"}
        wait_until(lambda: not raw.exists("imagefleet:group:calendar", "imagefleet:claims"), 10)
        assert sum(queue.waiting for queue in client.queues()) == 0
