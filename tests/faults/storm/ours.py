"""The storm's view of this project's fleet: what it does, and what is counted at its end."""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import redis
from celery import Celery
from tests.faults.storm.jobs import Pixels, is_wrong
from tests.support.fleet.fleet import Fleet

from imagefleet import GenerationJob, JobResult
from imagefleet.contract.jobs import to_wire
from imagefleet.contract.queues import GENERATE_TASK, WEBHOOK_QUEUE, queue_for
from imagefleet.store.keys import Keys
from imagefleet_worker.supervision.child_process import ChildProcess

_DEFAULT_PRIORITY = 5
#: One job of so many is sent with a countdown.
_LATER_EACH = 5
_LONGEST_COUNTDOWN_S = 5.0
QUEUE = queue_for("default")


class OurFleet:
    """A fleet whose jobs have webhooks and whose webhooks nobody sends: they lie on their list to be counted."""

    #: A message that nobody takes for so long is lost.
    patience_s = 90.0

    def __init__(self, fleet: Fleet, *, lease_s: float, seed: int) -> None:
        self._fleet = fleet
        self._keys = Keys()
        self._redis: Any = fleet.raw()
        self._env = {"IMAGEFLEET_LEASE_DURATION_S": f"{lease_s:g}"}
        self._app = self._producer()
        self._chance = random.Random(seed)
        self._ids: list[str] = []

    def start_worker(self, name: str) -> ChildProcess:
        """Start a worker."""
        return self._fleet.start(name, env=self._env)

    def submit(self, jobs: list[GenerationJob]) -> None:
        """Queue *jobs*: each fifth as a Celery app does, with a countdown."""
        later, now = jobs[::_LATER_EACH], [job for number, job in enumerate(jobs) if number % _LATER_EACH]
        with self._fleet.client() as client:
            self._ids += client.submit_many(now)
        for job in later:
            countdown = self._chance.uniform(0.5, _LONGEST_COUNTDOWN_S)
            sent = self._app.send_task(
                GENERATE_TASK, kwargs={"job": to_wire(job)}, queue=QUEUE, countdown=countdown, ignore_result=True
            )
            self._ids.append(str(sent.id))

    def connect_anew(self) -> None:
        """Close the storm's own connections, as producers without our client must after a fail-over."""
        self._redis.connection_pool.disconnect()
        self._app.close()
        self._app = self._producer()

    def ended(self) -> int:
        """How many jobs have ended."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in self._ids:
            pipe.hget(self._keys.job(job_id), "status")
        return sum(status not in (None, "queued", "running") for status in pipe.execute())

    def held_by(self, worker: str) -> list[Hashable]:
        """The claims of the worker of that name: those of the process that its records name."""
        claims: dict[str, str] = self._redis.hgetall(self._keys.claims)
        owners: dict[str, str] = self._redis.hgetall(self._keys.owners)
        pipe = self._redis.pipeline(transaction=False)
        for message in claims.values():
            pipe.hmget(self._keys.job(json.loads(message)["headers"]["id"]), "worker", "status")
        named = [
            owners[token]
            for token, (name, status) in zip(claims, pipe.execute(), strict=True)
            if token in owners and status == "running" and str(name).startswith(f"{worker}@")
        ]
        if not named:
            return []
        owner = Counter(named).most_common(1)[0][0]
        return [(token, holder) for token, holder in owners.items() if holder == owner]

    def released(self, claims: list[Hashable]) -> Iterable[Hashable]:
        """Which of *claims* are the process's no longer."""
        now: dict[str, str] = self._redis.hgetall(self._keys.owners)
        return [claim for claim in claims if isinstance(claim, tuple) and now.get(claim[0]) != claim[1]]

    def is_idle(self) -> bool:
        """Whether no message is in work or waits for its time."""
        counts = self._redis.hlen(self._keys.tenants_running)  # of running jobs, by tenant
        return not (self._redis.zcard(self._keys.leases) or self._redis.zcard(self._keys.delayed) or counts)

    def count(self, expected: Mapping[int, Pixels]) -> dict[str, Any]:
        """What is left behind, as the issue's figures."""
        results = self._results()
        succeeded = {job_id: result for job_id, result in results.items() if result.status == "succeeded"}
        webhooks = self._webhooks()
        objects = self._objects()
        codes = Counter(result.error.code for result in results.values() if result.error)
        return {
            "lost": len(self._ids) - len(succeeded),
            "duplicate_results": sum(webhooks.values()) - len(webhooks),
            "duplicate_artifacts": sum(self._unnamed(job_id, objects=objects) for job_id in self._ids),
            **self._compare(succeeded, expected),
            "missing_webhooks": len(results) - len(webhooks),
            "failed": dict(codes),
            "poisoned": codes["poisoned"],
            "renders_repeated": self._renders_repeated(),
            "attempts": dict(sorted(Counter(result.attempts for result in succeeded.values()).items())),
            "dead_letters": self._redis.hlen(self._keys.dead),
            "left_claims": self._redis.zcard(self._keys.leases),
        }

    def _results(self) -> dict[str, JobResult]:
        pipe = self._redis.pipeline(transaction=False)
        for job_id in self._ids:
            pipe.hget(self._keys.job(job_id), "result")
        stored = zip(self._ids, pipe.execute(), strict=True)
        return {job_id: JobResult.model_validate_json(text) for job_id, text in stored if text}

    def _renders_repeated(self) -> int:
        """How often images were made again that had been made and waited for S3."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in self._ids:
            pipe.hget(self._keys.job(job_id), "renders_repeated")
        return sum(int(count or 0) for count in pipe.execute())

    def _webhooks(self) -> Counter[str]:
        messages = self._redis.lrange(self._keys.list_for(WEBHOOK_QUEUE, _DEFAULT_PRIORITY), 0, -1)
        return Counter(json.loads(message)["headers"]["id"] for message in messages)

    def _objects(self) -> dict[str, set[str]]:
        """The keys in the bucket, by job."""
        found: dict[str, set[str]] = defaultdict(set)
        s3 = self._fleet.s3
        for page in s3.client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket):
            for each in page.get("Contents", []):
                found[each["Key"].split("/")[-2]].add(each["Key"])
        return found

    def _unnamed(self, job_id: str, *, objects: Mapping[str, set[str]]) -> int:
        """How many objects of a job its manifest does not name."""
        keys = objects.get(job_id, set())
        manifests = {key for key in keys if key.endswith("/result.json")}
        named = {f"s3://{self._fleet.s3.bucket}/{key}" for key in keys - manifests}
        for key in manifests:
            named -= {artifact.uri for artifact in JobResult.model_validate_json(self._read(key)).artifacts}
        return len(named) + max(0, len(manifests) - 1)

    def _compare(self, results: Mapping[str, JobResult], expected: Mapping[int, Pixels]) -> dict[str, int]:
        """Images that are not those of their seeds, and files that are not those of their results."""
        wrong = other = 0
        for result in results.values():
            for artifact in result.artifacts:
                file = self._read(artifact.uri.removeprefix(f"s3://{self._fleet.s3.bucket}/"))
                wrong += is_wrong(file, seed=artifact.seed, expected=expected)
                other += hashlib.sha256(file).hexdigest() != artifact.sha256
        return {"wrong_images": wrong, "hash_mismatches": other}

    def _read(self, key: str) -> bytes:
        return self._fleet.s3.client.get_object(Bucket=self._fleet.s3.bucket, Key=key)["Body"].read()

    def _producer(self) -> Celery:
        return Celery("storm", broker=self._fleet.redis_url, set_as_current=False)

    def close(self) -> None:
        """Close its connections."""
        self._redis.close()
        self._app.close()


UNREACHABLE = (redis.ConnectionError, redis.TimeoutError)
