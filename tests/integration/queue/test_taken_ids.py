"""Two messages with one id, of different jobs: neither begins, ends or drops the other's job. So with foreign keys."""

import json
from typing import Any

import pytest
import redis

from imagefleet import Client, IdTaken
from imagefleet.contract import messages
from imagefleet.contract.queues import GENERATE_TASK, queue_for
from imagefleet.store import endings
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet_worker.queue import attempt_records, claims
from imagefleet_worker.queue.claims import Claimed

KEYS = Keys()
QUEUE = queue_for("default")


def claim(raw: "redis.Redis", token: str) -> Claimed:
    reply: Any = raw.execute_command(
        *claims.claim(KEYS, queues=[QUEUE], token=token, owner="me", duration_s=30, worker="w")
    )
    return claims.read(token, reply)


def start(raw: "redis.Redis", token: str, fingerprint: str) -> list[Any]:
    command = attempt_records.start(
        KEYS, "mine", claim=Claim(token, "me"), worker="w", model="default", fingerprint=fingerprint
    )
    reply: Any = raw.execute_command(*command)
    return reply


def push_foreign(raw: "redis.Redis", *, first: bool) -> None:
    """A message with the id `mine`, as a Celery app sends it: without a fingerprint."""
    message = messages.encode(GENERATE_TASK, {"job": {"prompt": "a cat"}}, message_id="mine", queue=QUEUE)
    (raw.rpush if first else raw.lpush)(QUEUE, message)


def test_a_message_of_another_job_does_not_begin_the_job_of_a_client(client: Client, raw: "redis.Redis") -> None:
    client.submit("a dog", job_id="mine")
    push_foreign(raw, first=True)

    foreign = claim(raw, "1")

    assert json.loads(foreign.message)["body"].count("a cat")
    assert foreign.started is None
    assert start(raw, "1", "that of the cat") == ["taken"]
    assert raw.hget(KEYS.job("mine"), "status") == "queued"
    assert claim(raw, "2").started


def test_a_message_of_another_job_is_not_dropped_because_a_job_with_its_id_was_canceled(
    client: Client, raw: "redis.Redis"
) -> None:
    client.submit("a dog", job_id="mine")
    known: Any = raw.execute_command(*endings.read(KEYS, "mine"))
    raw.execute_command(*endings.cancel(KEYS, "mine", known))
    push_foreign(raw, first=False)

    assert "a cat" in claim(raw, "1").message


@pytest.mark.parametrize("status", ["failed", "succeeded"])
def test_the_end_of_another_job_is_not_recorded(client: Client, raw: "redis.Redis", status: str) -> None:
    """Such as that of an invalid job: it is refused before anybody looks at the record."""
    client.submit("a dog", job_id="mine")
    push_foreign(raw, first=True)
    claim(raw, "1")

    command = attempt_records.finish(
        KEYS,
        "mine",
        claim=Claim("1", "me"),
        status=status,
        result="{}",
        event="{}",
        ttl_s=60,
        fingerprint="none",
    )

    assert raw.execute_command(*command) == "taken"
    assert raw.hget(KEYS.job("mine"), "status") == "queued"


def test_the_record_of_a_job_that_no_client_queued_gets_its_fingerprint_when_it_begins(raw: "redis.Redis") -> None:
    push_foreign(raw, first=True)
    claim(raw, "1")

    assert start(raw, "1", "that of the cat")[0] == "started"
    assert start(raw, "1", "that of a dog") == ["taken"]


def test_a_key_of_another_type_under_a_records_name_is_the_trouble_of_one_message(
    client: Client, raw: "redis.Redis"
) -> None:
    """Claims of the queue go on, no lease is lost, and the message can be put back, taken over and refused."""
    raw.set(KEYS.job("mine"), "of another program")
    push_foreign(raw, first=False)
    client.submit("a dog", job_id="ours")
    with pytest.raises(IdTaken):
        client.submit("a dog", job_id="mine")

    foreign, ours = claim(raw, "1"), claim(raw, "2")

    assert json.loads(foreign.message)["headers"]["id"] == "mine"
    assert foreign.started is None
    assert ours.started
    renewed: Any = raw.execute_command(
        *claims.renew(KEYS, owner="me", duration_s=0, jobs_by_token={"1": "mine", "2": "ours"})
    )
    assert renewed == [[], []]
    raw.hset(KEYS.on_device("me"), "1", json.dumps({"worker": "w"}))
    found: Any = raw.execute_command(*claims.take_over(KEYS, owner="you", duration_s=30))
    assert set(found[::3]) == {"1", "2"}
    assert raw.execute_command(*claims.give_back(KEYS, token="1", owner="you")) == 1
    assert claim(raw, "3").token == "3"
    assert start(raw, "3", "that of the cat") == ["taken"]
    end = attempt_records.finish(
        KEYS, "mine", claim=Claim("3", "me"), status="failed", result="{}", event="{}", ttl_s=60, ends_claim=True
    )
    assert raw.execute_command(*end) == "taken"
    assert raw.get(KEYS.job("mine")) == "of another program"
