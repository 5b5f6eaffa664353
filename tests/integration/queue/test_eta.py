"""Messages with an `eta` or a countdown, on a real server: nobody claims them before their time."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract import messages
from imagefleet.contract.queues import GENERATE_TASK, LEVELS, queue_for
from imagefleet.errors import JobNotFound
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import load
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.message_check import MalformedMessage, parse_message

KEYS = Keys("e:")
QUEUE = queue_for("default")
HOUR = timedelta(hours=1)
JOB: dict[str, Any] = {"prompt": "a fox", "metadata": {"order": 7}, "webhook": {"url": "https://example.com/hook"}}


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, key_prefix=KEYS.prefix) as client:
        yield client


@pytest.fixture
def make_leases(raw: "redis.Redis") -> Iterator[Callable[..., Leases]]:
    made: list[Leases] = []

    def make(**options: Any) -> Leases:
        made.append(Leases(raw, keys=KEYS, duration_s=30, **options))
        return made[-1]

    yield make
    for leases in made:
        leases.close()


def message(name: str, eta: object, *, tenant: str | None = None, task: str = GENERATE_TASK) -> str:
    envelope = json.loads(messages.encode(task, {"job": JOB}, message_id=name, queue=QUEUE, tenant=tenant))
    envelope["headers"]["eta"] = eta
    return json.dumps(envelope)


def push(raw: "redis.Redis", *texts: str, level: str = "") -> None:
    for text in texts:
        raw.lpush(f"{KEYS.prefix}{QUEUE}{level}", text)


def at(moment: datetime) -> str:
    return moment.isoformat()


def take(leases: Leases) -> str | None:
    """The id of the message that a claim gets."""
    claimed = leases.claim([QUEUE])
    return json.loads(claimed.message)["headers"]["id"] if claimed else None


def test_countdowns_do_not_keep_a_worker_from_the_job_behind_them(
    raw: "redis.Redis", client: Client, make_leases: Callable[..., Leases]
) -> None:
    """They cost none of its slots, and are seen where one looks for them."""
    push(raw, *(message(f"later{n}", at(datetime.now(UTC) + HOUR)) for n in range(20)), message("now", None))
    leases = make_leases()

    assert take(leases) == "now"

    assert leases.count() == 1
    assert raw.zcard(KEYS.delayed) == 20
    raw.sadd(KEYS.queues, QUEUE)
    [queue] = client.queues()
    assert (queue.name, queue.delayed, queue.waiting) == (QUEUE, 20, 0)
    assert client.overview().delayed == 20


@pytest.mark.parametrize("level", LEVELS, ids=["urgent", "default", "3", "6", "9"])
def test_a_message_keeps_its_priority_and_tenant_and_comes_within_a_second(
    raw: "redis.Redis", make_leases: Callable[..., Leases], level: str
) -> None:
    due = time.time() + 1.2
    eta = at(datetime.fromtimestamp(due, UTC))
    push(raw, message("plain", eta), message("acme", eta, tenant="acme"), level=level)
    leases = make_leases()
    assert take(leases) is None

    key = f"{KEYS.prefix}{QUEUE}{level}"
    wait_until(lambda: raw.llen(key) == raw.zcard(f"{key}:tenants") == 1, 5)

    assert 0 <= time.time() - due < 1
    assert {take(leases), take(leases)} == {"plain", "acme"}
    assert raw.hgetall(KEYS.tenants_running) == {f"{KEYS.prefix}{QUEUE} acme": "1"}


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T19:00:00+00:00",
        "2026-11-26T19:00:00",
        "2026-11-26 19:00:00Z",
        "2026-11-26T19:00",
        "2026-11-26T20:30:00+01:30",
        "2026-11-25T19:01:00-23:59",
        "2026-11-26T14:00:00-0500",
        "2026-11-26T19:00:00.123456+00:00",
        "2024-02-29T00:00:00Z",
        "2000-02-29T23:59:59.999999+05:45",
        "2100-03-01T00:00:00",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_redis_and_the_worker_read_the_same_time(raw: "redis.Redis", tmp_path: Path, text: str) -> None:
    """A time without an offset is UTC, as for Celery."""
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()

    assert abs(float(read_in_redis(raw, tmp_path, text)) - expected) < 1e-3
    assert refusal(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "",
        "2026-11-26",
        "2026-13-01T00:00:00",
        "2026-00-01T00:00:00",
        "2026-02-29T00:00:00",
        "2100-02-29T00:00:00",
        "2026-04-31T00:00:00",
        "2026-11-26T24:00:00",
        "2026-11-26T19:60:00",
        "2026-11-26T19:00:60",
        "2026-11-26T19:00:00+24:00",
        "2026-11-26T19:00:00+01:60",
        "2026-11-26T19:00:00+1",
        "2026-11-26T19:00:00.",
        "2026-11-26T19:00:00 CET",
        "0000-01-01T00:00:00",
        "20261126T190000",
        "٢٠٢٦-11-26T19:00:00",
    ],
)
def test_what_redis_cannot_read_is_refused_and_not_run_at_once(raw: "redis.Redis", tmp_path: Path, text: str) -> None:
    assert read_in_redis(raw, tmp_path, text) is None
    assert refusal(text) == "headers: eta: is no time such as 2026-11-26T19:00:00+00:00"


@pytest.mark.parametrize("value", [1795719768, 1e400, True, ["2026-11-26T19:00:00"], {"at": 1}])
def test_an_eta_that_is_no_text_is_refused(value: object) -> None:
    assert refusal(value) == "headers: eta: is no time such as 2026-11-26T19:00:00+00:00"


def read_in_redis(raw: "redis.Redis", folder: Path, text: str) -> Any:
    (folder / "lib").mkdir()
    (folder / "lib" / "moment.lua").write_text((claims.LUA / "lib" / "moment.lua").read_text())
    (folder / "read.lua").write_text(
        "-- LIB moment\n-- ARGV\n--   text\nlocal at = moment(text)\nreturn at and string.format('%.6f', at)\n"
    )
    return raw.execute_command(*load("read", folder=folder)(text=text))


def refusal(eta: object) -> str | None:
    try:
        parse_message(message("a", eta), token="t", queue=QUEUE, tasks={GENERATE_TASK})
    except MalformedMessage as problem:
        return problem.reason
    return None


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-9)), None])
def test_a_time_in_the_past_is_no_reason_to_wait(
    raw: "redis.Redis", make_leases: Callable[..., Leases], zone: timezone | None
) -> None:
    """And Celery does not see it: its clock may be behind that of Redis, and it would hold the message."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    eta = at(moment.astimezone(zone) if zone else moment.replace(tzinfo=None))
    push(raw, message("late", eta))

    claimed = make_leases().claim([QUEUE])

    assert claimed
    parsed = parse_message(claimed.message, token=claimed.token, queue=QUEUE, tasks={GENERATE_TASK})
    assert parsed["headers"]["eta"] is None


def test_a_job_that_waits_for_its_time_is_queued_and_can_be_canceled(
    raw: "redis.Redis", client: Client, make_leases: Callable[..., Leases]
) -> None:
    """With the labels and the webhook of its message; and nobody runs it when its time comes."""
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    push(raw, message("later", at(due)))
    leases = make_leases()
    assert take(leases) is None
    assert client.status("later") == "queued"

    client.cancel("later")

    result = client.result("later", timeout_s=5)
    assert (result.status, result.metadata) == ("canceled", {"order": 7})
    assert raw.llen(KEYS.deliveries) == 1
    wait_until(lambda: raw.zcard(KEYS.delayed) == 0, 5)
    assert take(leases) is None
    assert raw.llen(f"{KEYS.prefix}{QUEUE}") == 0


def test_the_record_of_a_canceled_job_is_kept_until_its_time_has_come(
    raw: "redis.Redis", client: Client, make_leases: Callable[..., Leases]
) -> None:
    push(raw, message("later", at(datetime.now(UTC) + timedelta(days=400))))
    take(make_leases())

    client.cancel("later")

    assert raw.ttl(KEYS.job("later")) > timedelta(days=400).total_seconds()


@pytest.mark.parametrize("name", ["a" * 129, "-", "a b", "ü"])
def test_an_id_that_is_no_job_id_gets_no_record(
    raw: "redis.Redis", client: Client, make_leases: Callable[..., Leases], name: str
) -> None:
    push(raw, message(name, at(datetime.now(UTC) + HOUR)))
    push(raw, message("hook", at(datetime.now(UTC) + HOUR), task="imagefleet.deliver"))

    assert take(make_leases()) is None

    assert raw.zcard(KEYS.delayed) == 2
    assert not list(raw.scan_iter(KEYS.job("*")))
    with pytest.raises(JobNotFound):
        client.status("hook")


def test_messages_that_are_due_at_once_are_moved_at_once(
    raw: "redis.Redis", make_leases: Callable[..., Leases]
) -> None:
    """More than one script moves."""
    now = time.time()
    raw.zadd(KEYS.delayed, {json.dumps([f"{KEYS.prefix}{QUEUE}", message(f"m{n}", None)]): now for n in range(350)})
    raw.zadd(KEYS.delayed, {json.dumps([f"{KEYS.prefix}{QUEUE}", message("far", None)]): now + 3600})
    leases = make_leases()

    assert leases.redelivery.promote()

    assert raw.llen(f"{KEYS.prefix}{QUEUE}") == 350
    assert leases.redelivery.next_due_in_s == pytest.approx(3600, abs=30)
