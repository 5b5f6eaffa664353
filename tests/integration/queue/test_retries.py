"""How long a job that fails is tried again, and after which pauses: a real Redis, a real device, an S3 that is away."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from imagefleet import Client
from imagefleet.contract.queues import queue_for
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.jobs.message import Message
from imagefleet_worker.jobs.running import AttemptState, RunningAttempts
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.queue import attempt_records, claims, retry_records
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import EncodingSettings, ModelSettings, Settings, StorageSettings
from imagefleet_worker.storage.provenance import Provenance

if TYPE_CHECKING:
    from tests.support.models.engines import Engines

KEYS = Keys()
QUEUE = queue_for("default")
#: Nothing listens there.
AWAY = "http://127.0.0.1:9"


class Worker:
    """One worker process without Celery: it claims one job, and runs it."""

    def __init__(self, raw: "redis.Redis", engines: "Engines") -> None:
        from imagefleet_worker.jobs.image_maker import ImageMaker  # noqa: PLC0415  # torch takes seconds
        from imagefleet_worker.process.image_storage import build_uploader  # noqa: PLC0415  # as above
        from imagefleet_worker.process.startup import build_job_runner  # noqa: PLC0415  # as above
        from imagefleet_worker.storage.bucket import Storage  # noqa: PLC0415  # as above

        settings = Settings.load()
        storage = Storage(StorageSettings(bucket="images", endpoint_url=AWAY, region="us-east-1", attempts=1))
        at_once = settings.worker.model_copy(update={"retry_for_s": 0})  # an upload is not repeated in the attempt
        self._raw = raw
        self.attempts = RunningAttempts()
        self.leases = Leases(raw, keys=KEYS, duration_s=30, worker="w", listener=self.attempts)
        image_maker = ImageMaker(
            engines.shared("sd"),
            build_uploader(replace(settings, worker=at_once), storage, raw),
            Watchdog(60),
            self.leases.device_entries,
            model=ModelSettings(),
            encoding=EncodingSettings(),
            limits=settings.limits,
            checker=None,
            provenance=Provenance(),
            worker="w",
        )
        self._runner = build_job_runner(
            settings,
            raw,
            keys=KEYS,
            leases=self.leases,
            attempts=self.attempts,
            image_maker=image_maker,
            metrics=Metrics(model="default"),
            dead_letters=DeadLetterWriter(raw, keys=KEYS, settings=settings.lease, worker="w"),
            worker="w",
        )

    def claim(self) -> claims.Claimed:
        """Claim the job; one that was postponed is first made due."""
        for entry in self._raw.zrange(KEYS.delayed, 0, -1):
            self._raw.zadd(KEYS.delayed, {entry: 0})
        self._raw.execute_command(*claims.promote(KEYS))
        claimed = self.leases.claim([QUEUE])
        assert claimed
        return claimed

    def run(self) -> Any:
        """Claim and run the job once."""
        claimed = self.claim()
        envelope = json.loads(claimed.message)
        message = Message(
            envelope["headers"]["id"],
            self.leases.claim_for(claimed.token),
            redeliveries=0,
            kwargs=json.loads(envelope["body"])[1],
            started=self.leases.started(claimed.token),
            is_awaited=False,
        )
        return self._runner.run(message)

    def drain(self) -> None:
        """Claim the job, and give it back."""
        self.leases.give_back(self.claim().token)


@pytest.fixture
def worker(raw: "redis.Redis", engines: "Engines", monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker whose pauses begin at ten seconds, and that gives up after a hundred."""
    monkeypatch.setenv("IMAGEFLEET_WORKER_RETRY_BASE_S", "10")
    monkeypatch.setenv("IMAGEFLEET_WORKER_RETRY_FOR_S", "100")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    worker = Worker(raw, engines)
    with closing(worker.leases):
        yield worker


@pytest.fixture
def job_id(client: Client) -> str:
    return client.submit("a fox", width=64, height=64, steps=1)


def pause_s(raw: "redis.Redis") -> float:
    """How long the postponed job still waits."""
    ((_, due),) = raw.zrange(KEYS.delayed, 0, -1, withscores=True)
    seconds, microseconds = raw.time()
    return float(due) - seconds - microseconds / 1e6


def test_each_failure_doubles_the_pause(raw: "redis.Redis", worker: Worker, job_id: str) -> None:
    """And nobody holds the job meanwhile."""
    for longest in (20, 40):
        assert worker.run() is None
        assert longest / 2 - 1 < pause_s(raw) <= longest
        assert worker.attempts.count(*AttemptState) == 0


def test_a_drain_doubles_no_pause(raw: "redis.Redis", worker: Worker, job_id: str) -> None:
    """Nothing is wrong with a job whose workers were asked to end."""
    for _ in range(6):
        worker.drain()

    assert worker.run() is None

    assert raw.hget(KEYS.job(job_id), "attempts") == "7"
    assert 9 < pause_s(raw) <= 20


def test_a_job_is_given_up_by_the_time_since_its_first_failed_try(
    raw: "redis.Redis", client: Client, worker: Worker, job_id: str
) -> None:
    """Not by the length of one pause."""
    assert worker.run() is None
    raw.hincrbyfloat(KEYS.job(job_id), "failing_since", -95)

    result = worker.run()

    assert (result.status, result.error.code, result.attempts) == ("failed", "storage_unavailable", 2)
    assert client.status(job_id) == "failed"
    assert raw.zcard(KEYS.delayed) == 0


def test_time_in_the_queue_and_in_drained_workers_does_not_count(
    raw: "redis.Redis", worker: Worker, job_id: str
) -> None:
    """A job that waited for long has all its tries."""
    raw.hincrbyfloat(KEYS.job(job_id), "queued_at", -5000)
    worker.drain()
    raw.hincrbyfloat(KEYS.job(job_id), "started_at", -5000)

    assert worker.run() is None


def test_a_failure_that_is_sent_again_counts_once(raw: "redis.Redis", client: Client, job_id: str) -> None:
    """Its first reply may have been lost."""
    raw.execute_command(*attempt_records.start(KEYS, job_id, claim=Claim("", ""), worker="w", model="default"))
    command = retry_records.count_failure(KEYS, job_id, claim=Claim("", ""), attempt=1)

    replies = [raw.execute_command(*command) for _ in range(2)]

    assert [reply[:2] for reply in replies] == [["counted", 1], ["counted", 1]]
    again = retry_records.count_failure(KEYS, job_id, claim=Claim("", ""), attempt=2)
    assert raw.execute_command(*again)[:2] == ["counted", 2]


def test_who_has_lost_the_lease_counts_nothing(raw: "redis.Redis", worker: Worker, job_id: str) -> None:
    token = worker.claim().token
    command = retry_records.count_failure(KEYS, job_id, claim=Claim(token, "another"), attempt=1)

    assert raw.execute_command(*command) == ["lost"]

    assert raw.hget(KEYS.job(job_id), "failures") is None
