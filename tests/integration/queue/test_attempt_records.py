"""A job's record from claim to end, on a real server without Celery: what begins and what ends with a claim."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract import messages
from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.queues import GENERATE_TASK, queue_for
from imagefleet.store import records, webhook_records
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim, Outgoing
from imagefleet.store.webhook_records import WebhookRecord
from imagefleet_worker.jobs.progress import AttemptProgress, ProgressPublisher
from imagefleet_worker.jobs.progress_webhooks import UpdateWebhooks
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.queue import attempt_records, claims
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.leases import Leases

KEYS = Keys("r:")
QUEUE = queue_for("default")


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, key_prefix=KEYS.prefix) as client:
        yield client


@pytest.fixture
def leases(raw: "redis.Redis") -> Iterator[Leases]:
    """The leases of a worker that makes images."""
    leases = Leases(raw, keys=KEYS, duration_s=30, worker="gpu0@here")
    yield leases
    leases.close()


class Heard(ClaimListener):
    """Keeps which claims were lost."""

    def __init__(self) -> None:
        self.lost: list[str] = []

    def mark_lost(self, token: str) -> None:
        self.lost.append(token)


def record(raw: "redis.Redis", job_id: str) -> dict[str, Any]:
    return raw.hgetall(KEYS.job(job_id))


def take(leases: Leases) -> claims.Claimed:
    claimed = leases.claim([QUEUE])
    assert claimed
    leases.note_job(claimed.token, str(json.loads(claimed.message)["headers"]["id"]))
    return claimed


def finish(
    raw: "redis.Redis",
    job_id: str,
    claim: Claim,
    *,
    ends_claim: bool,
    status: str = "succeeded",
    outgoing: tuple[Outgoing, ...] = (),
) -> str:
    command = attempt_records.finish(
        KEYS,
        job_id,
        claim=claim,
        status=status,
        result="{}",
        event="{}",
        ttl_s=60,
        ends_claim=ends_claim,
        outgoing=outgoing,
    )
    return raw.execute_command(*command)


def holds_nothing(raw: "redis.Redis") -> bool:
    return not any(map(raw.exists, (KEYS.leases, KEYS.claims, KEYS.owners, KEYS.origins)))


def test_a_job_that_a_client_queued_begins_as_it_is_claimed(raw: "redis.Redis", client: Client, leases: Leases) -> None:
    job_id = client.submit("a fox")

    claimed = take(leases)

    begun = leases.started(claimed.token)
    assert begun
    assert begun.attempts == 1
    assert 0 <= begun.queued_s < 5
    seen = record(raw, job_id)
    assert (seen["status"], seen["worker"], seen["attempts"]) == ("running", "gpu0@here", "1")
    assert float(seen["started_at"]) >= float(seen["queued_at"])
    assert raw.ttl(KEYS.job(job_id)) > records.PENDING_TTL_S - 60


def test_each_attempt_at_it_is_counted(client: Client, leases: Leases) -> None:
    """Handed back, it is queued again, and begins again."""
    job_id = client.submit("a fox")
    leases.give_back(take(leases).token)
    assert client.status(job_id) == "queued"

    begun = leases.started(take(leases).token)

    assert begun
    assert begun.attempts == 2
    assert client.status(job_id) == "running"


@pytest.mark.parametrize("why", ["no client queued it", "somebody canceled it", "it runs already", "no images here"])
def test_what_needs_a_decision_begins_later(raw: "redis.Redis", client: Client, leases: Leases, why: str) -> None:
    """Its record stays as it is, and where it has none, none is made."""
    job_id = "foreign"
    if why == "no client queued it":
        raw.lpush(KEYS.lists(QUEUE)[1], messages.encode(GENERATE_TASK, {}, message_id=job_id, queue=QUEUE))
    else:
        job_id = client.submit("a fox")
    if why == "somebody canceled it":  # while it ran; then it was handed back
        raw.hset(KEYS.job(job_id), "cancel", "1")
    if why == "it runs already":
        raw.hset(KEYS.job(job_id), "status", "running")
    before = record(raw, job_id)

    with closing(Leases(raw, keys=KEYS, duration_s=30)) as sender:
        holder = sender if why == "no images here" else leases
        claimed = take(holder)

        assert holder.started(claimed.token) is None
        assert record(raw, job_id) == before


def test_a_claim_whose_reply_was_lost_begins_its_job_once(raw: "redis.Redis", client: Client) -> None:
    """The second reply says nothing of it, so that `start` decides."""
    job_id = client.submit("a fox")
    command = claims.claim(KEYS, queues=[QUEUE], token="t", owner="me", duration_s=30, worker="w")

    first, second = (claims.read("t", raw.execute_command(*command)) for _ in range(2))

    assert first.message == second.message
    assert first.started
    assert second.started is None
    assert record(raw, job_id)["attempts"] == "1"


@pytest.mark.parametrize("ends_claim", [True, False])
def test_the_end_of_a_job_ends_its_claim_where_celery_has_nobody_to_tell(
    raw: "redis.Redis", client: Client, leases: Leases, *, ends_claim: bool
) -> None:
    """In one step: with the result there is nothing left to redeliver. Where callbacks wait, the message stays."""
    job_id = client.submit("a fox")
    claimed = take(leases)

    assert finish(raw, job_id, leases.claim_for(claimed.token), ends_claim=ends_claim) == "recorded"

    assert record(raw, job_id)["status"] == "succeeded"
    assert holds_nothing(raw) == ends_claim


def test_the_job_of_a_tenant_makes_room_as_it_ends(raw: "redis.Redis", client: Client, leases: Leases) -> None:
    client.submit("a fox", tenant="acme")
    claimed = take(leases)
    assert raw.hlen(KEYS.tenants_running) == 1

    finish(raw, json.loads(claimed.message)["headers"]["id"], leases.claim_for(claimed.token), ends_claim=True)

    assert raw.hlen(KEYS.tenants_running) == 0


def test_an_end_that_is_sent_again_is_not_lost(raw: "redis.Redis", client: Client, leases: Leases) -> None:
    """The first reply may have been lost: the claim is gone by now, and the job has ended."""
    job_id = client.submit("a fox")
    claim = leases.claim_for(take(leases).token)
    assert finish(raw, job_id, claim, ends_claim=True) == "recorded"

    assert finish(raw, job_id, claim, ends_claim=True) == "succeeded"


@pytest.mark.parametrize("ends_claim", [True, False])
def test_who_has_lost_the_lease_ends_nothing(
    raw: "redis.Redis", client: Client, leases: Leases, *, ends_claim: bool
) -> None:
    job_id = client.submit("a fox")
    claimed = take(leases)

    assert finish(raw, job_id, Claim(claimed.token, "another"), ends_claim=ends_claim, status="failed") == "lost"

    assert client.status(job_id) == "running"
    assert not holds_nothing(raw)


def test_a_claim_that_a_command_ends_is_no_loss(
    raw: "redis.Redis", client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal may come between the command and its reply."""
    heard = Heard()
    leases = Leases(raw, keys=KEYS, duration_s=1, listener=heard)
    job_id = client.submit("a fox")
    token = take(leases).token
    renewed = threading.Semaphore(0)
    renew = claims.renew

    def counted(*args: Any, **kwargs: Any) -> Any:
        renewed.release()
        return renew(*args, **kwargs)

    monkeypatch.setattr(claims, "renew", counted)
    try:
        leases.will_end(token)
        finish(raw, job_id, leases.claim_for(token), ends_claim=True)
        for _ in range(3):
            assert renewed.acquire(timeout=5)
        leases.has_ended(token)
    finally:
        leases.close()

    assert (heard.lost, leases.thread.lost, leases.count()) == ([], 0, 0)


def test_progress_tells_the_worker_of_a_cancel_that_it_has_not_heard(raw: "redis.Redis", client: Client) -> None:
    """It may come between the claim and the attempt, or be said while the listener is not connected."""
    heard: list[str] = []
    publisher = ProgressPublisher(raw, keys=KEYS, interval_s=0.01, on_cancel=heard.append)
    updates = UpdateWebhooks("x", GenerationJob(prompt="x"), attempts=1, worker="w", interval_s=60)
    try:
        publisher.start()
        jobs = client.submit_many(["a fox", "a hare"])
        for job_id in jobs:
            raw.execute_command(*attempt_records.start(KEYS, job_id, claim=Claim("", ""), worker="w", model="default"))
        client.cancel(jobs[1])
        for job_id in jobs:
            AttemptProgress(job_id, publisher=publisher, metrics=Metrics(model="default"), updates=updates).step(1, 4)

        wait_until(lambda: heard == [jobs[1]] and record(raw, jobs[0]).get("progress") == "1/4", 5)
    finally:
        publisher.stop()


def test_progress_of_a_job_that_has_ended_says_nothing(raw: "redis.Redis", client: Client) -> None:
    job_id = client.submit("a fox")
    client.cancel(job_id)

    assert raw.execute_command(*records.progress(KEYS, job_id, done=1, total=4, event="{}")) == 0


def test_the_loop_is_woken_by_an_end_only_where_it_held_too_much(raw: "redis.Redis", client: Client) -> None:
    """Each turn of it costs a running forward the interpreter; but one that waits must not be forgotten."""
    woken: list[str] = []
    with closing(Leases(raw, keys=KEYS, duration_s=30, wake=lambda: woken.append("loop"))) as leases:
        client.submit_many(["a fox", "a hare", "a mole"])
        first, second, third = (take(leases).token for _ in range(3))

        leases.has_ended(first)
        assert woken == []

        assert leases.is_full(2)
        leases.ack(second)
        assert woken == ["loop"]

        assert not leases.is_full(2)
        leases.ack(third)
        assert woken == ["loop"]


def test_a_webhook_that_the_end_queues_is_in_the_record_beside_those_that_were_tried(
    client: Client, raw: "redis.Redis", leases: Leases
) -> None:
    """In the step that ends the job, so that no worker sends anything for it."""
    ids = [client.submit("a dog"), client.submit("a cat")]
    raw.execute_command(*webhook_records.note(KEYS, ids[0], WebhookRecord(event="job.running", attempts=2)))
    for job_id in ids:
        outgoing = (Outgoing(KEYS.deliveries, "a message"),) if job_id == ids[0] else ()
        finish(raw, job_id, leases.claim_for(take(leases).token), ends_claim=True, outgoing=outgoing)

    told, silent = (webhook_records.read(record(raw, job_id).get(webhook_records.FIELD)) for job_id in ids)

    assert [(each.event, each.state, each.attempts) for each in told] == [
        ("job.running", "queued", 2),
        ("job.succeeded", "queued", 0),
    ]
    assert silent == ()
    assert raw.execute_command(*webhook_records.note(KEYS, "gone", told[0])) == 0
    assert not raw.exists(KEYS.job("gone"))
