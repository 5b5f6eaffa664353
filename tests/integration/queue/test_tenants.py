"""Tenants without a fleet: they take turns within a priority, and none has more running jobs than its share."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from tests.support.waiting import wait_until

from imagefleet import Client, QueueFull
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.leases import Leases

KEYS = Keys()
QUEUE = "imagefleet.default"
MakeLeases = Callable[..., Leases]


@pytest.fixture
def make_leases(raw: "redis.Redis") -> Iterator[MakeLeases]:
    """Makes the leases of one more process."""
    made: list[Leases] = []

    def make(tenant_jobs: int = 0, duration_s: float = 30) -> Leases:
        made.append(Leases(raw, keys=KEYS, duration_s=duration_s, tenant_jobs=tenant_jobs))
        return made[-1]

    yield make
    for leases in made:
        leases.close()


def submit(client: Client, tenant: str | None, *numbers: int, **fields: Any) -> None:
    """Jobs called `<tenant><number>`."""
    jobs = [{"prompt": "a", "tenant": tenant, **fields} for _ in numbers]
    client.submit_many(jobs, [f"{tenant}{number}" for number in numbers])


def take(leases: Leases) -> Claimed | None:
    """The next message."""
    return leases.claim([QUEUE])


def id_of(claimed: Claimed | None) -> str:
    """Whose message it is."""
    return json.loads(claimed.message)["headers"]["id"] if claimed else ""


def take_all(leases: Leases) -> list[str]:
    """The ids of all that can be claimed."""
    return [id_of(claimed) for claimed in iter(lambda: take(leases), None)]


def test_one_job_of_a_tenant_is_next_after_two_thousand_of_another(client: Client, make_leases: MakeLeases) -> None:
    submit(client, "big", *range(2000))
    leases = make_leases()
    assert id_of(take(leases)) == "big0"

    submit(client, "small", 0)

    assert [id_of(take(leases)) for _ in range(3)] == ["small0", "big1", "big2"]


def test_tenants_and_jobs_without_one_take_turns_each_in_its_order(client: Client, make_leases: MakeLeases) -> None:
    submit(client, "a", 0, 1, 2, 3)
    submit(client, "b", 0, 1)
    submit(client, None, 0, 1)

    taken = take_all(make_leases())

    assert sorted(each[:-1] for each in taken[:3]) == sorted(each[:-1] for each in taken[3:6]) == ["None", "a", "b"]
    assert taken[6:] == ["a2", "a3"]
    for tenant in ("a", "b", "None"):
        own = [each for each in taken if each.startswith(tenant)]
        assert own == sorted(own)


def test_a_tenant_that_comes_again_at_once_does_not_push_others_aside(client: Client, make_leases: MakeLeases) -> None:
    """One job at a time is no way to the front."""
    submit(client, "patient", *range(4))
    leases, taken = make_leases(), list[str]()
    for number in range(4):
        submit(client, "hasty", number)
        taken += [id_of(take(leases))[:-1] for _ in range(2)]

    assert taken.count("patient") == taken.count("hasty") == 4


def test_priority_comes_before_turns(client: Client, make_leases: MakeLeases) -> None:
    submit(client, "a", 0, priority=2)
    submit(client, None, 0)
    submit(client, "b", 0, priority=9)

    assert take_all(make_leases()) == ["b0", "None0", "a0"]


def test_messages_of_other_programs_are_sorted_into_their_lanes(
    client: Client, raw: "redis.Redis", redis_url: str, make_leases: MakeLeases
) -> None:
    """Hand-made JSON and `send_task` say the tenant in a header."""
    for number in range(300):
        hand_made = {"headers": {"task": "imagefleet.generate", "id": f"hand{number}", "tenant": "hand"}}
        raw.lpush(QUEUE, json.dumps({**hand_made, "body": "[[], {}, {}]", "properties": {}}))
    with Celery(broker=redis_url, set_as_current=False) as app:
        app.send_task("imagefleet.generate", task_id="sent0", queue=QUEUE, headers={"tenant": "sent"})
    submit(client, "ours", 0)

    assert client.queue_length() == 302
    leases = make_leases()
    first = [id_of(take(leases)) for _ in range(4)]

    assert first[0] in {"ours0", "hand0"}  # nobody was served before
    assert {"ours0", "hand0", "sent0"} <= set(first)
    assert set(take_all(leases)) | set(first) == {f"hand{number}" for number in range(300)} | {"ours0", "sent0"}


@pytest.mark.parametrize("tenant", ["", "no such/name", "x" * 200, 7, None, ["a"]])
def test_a_header_that_is_no_tenant_is_as_none(raw: "redis.Redis", make_leases: MakeLeases, tenant: Any) -> None:
    """Its message waits in the list, and is claimed."""
    raw.lpush(QUEUE, json.dumps({"headers": {"task": "t", "id": "one", "tenant": tenant}}))

    assert take_all(make_leases()) == ["one"]


@pytest.mark.parametrize("way", ["given back", "redelivered"])
def test_what_waits_again_is_the_first_of_its_lane(
    client: Client, raw: "redis.Redis", make_leases: MakeLeases, way: str
) -> None:
    submit(client, "a", 0, 1, 2)
    leases = make_leases()
    claimed = take(leases)
    assert claimed
    if way == "redelivered":
        raw.zadd(KEYS.leases, {claimed.token: 1})
        found: Any = raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30))
        raw.execute_command(*claims.give_back(KEYS, token=found[0], owner="other"))
    else:
        leases.give_back(claimed.token)

    assert raw.hgetall(KEYS.tenants_running) == {}
    assert client.queue_length() == 3
    assert take_all(make_leases()) == ["a0", "a1", "a2"]


def test_what_was_postponed_comes_back_to_its_lane(client: Client, raw: "redis.Redis", make_leases: MakeLeases) -> None:
    submit(client, "a", 0)
    leases = make_leases()
    claimed = take(leases)
    assert claimed

    leases.postpone(claimed.token, due_in_s=0)

    wait_until(lambda: raw.execute_command(*claims.promote(KEYS)) or client.queue_length(), 5)
    assert raw.zcard(KEYS.lanes(QUEUE)[1]) == 1
    assert take_all(leases) == ["a0"]


def test_a_tenant_has_no_more_running_jobs_than_its_share_over_all_workers(
    client: Client, raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    submit(client, "a", *range(5))
    one, two = make_leases(tenant_jobs=2), make_leases(tenant_jobs=2)
    first, second = take(one), take(two)
    assert first
    assert second

    assert take(one) is take(two) is None
    assert one.is_capped
    submit(client, "b", 0)
    submit(client, None, 0)
    assert {id_of(take(one)), id_of(take(two))} == {"b0", "None0"}
    assert not one.is_capped

    one.ack(first.token)
    assert id_of(take(two)) == "a2"
    assert take(one) is None
    two.give_back_all()
    assert raw.hgetall(KEYS.tenants_running) == {f"{QUEUE} b": "1"} or raw.hgetall(KEYS.tenants_running) == {}


def test_a_full_redis_does_not_stop_the_turns(client: Client, raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """Claims, sorting and the ways back work where Redis refuses everything that grows."""
    submit(client, "a", 0, 1)
    submit(client, None, 0)
    raw.lpush(QUEUE, json.dumps({"headers": {"task": "t", "id": "hand0", "tenant": "hand"}}))
    leases = make_leases(tenant_jobs=1)
    raw.config_set("maxmemory", 1)
    try:
        held = list(iter(lambda: take(leases), None))
        assert {id_of(each) for each in held} == {"a0", "None0", "hand0"}
        leases.give_back_all()
        assert client.queue_length() == 4
    finally:
        raw.config_set("maxmemory", 0)
    assert set(take_all(make_leases())) == {"a0", "a1", "None0", "hand0"}


def test_canceled_jobs_of_tenants_are_dropped(client: Client, make_leases: MakeLeases) -> None:
    submit(client, "a", *range(50), group="g")
    submit(client, "a", 99)
    client.cancel_group("g")

    assert take_all(make_leases()) == ["a99"]
    assert client.queue_length() == 0


def test_a_full_queue_counts_the_lanes(redis_url: str) -> None:
    with Client(redis_url, max_queued=3) as client:
        submit(client, "a", 0, 1)
        with pytest.raises(QueueFull):
            submit(client, "b", 0, 1)
        assert client.queue_length() == 2


def test_the_overview_counts_the_lanes_and_knows_the_oldest(client: Client, raw: "redis.Redis") -> None:
    submit(client, "a", 0, 1, priority=9)
    submit(client, None, 0)
    raw.sadd("unrelated", "x")
    raw.hset(KEYS.job("a0"), "queued_at", "1")
    from imagefleet.store import queue_stats  # noqa: PLC0415  # the package has a class of that name, too

    seen = queue_stats.read_waiting(raw.execute_command(*queue_stats.waiting(KEYS, QUEUE)))

    assert seen.levels == (2, 1, 0, 0, 0)
    assert seen.oldest_s
    assert seen.oldest_s > 1e9


@pytest.mark.parametrize("tenants", [3, 1500])
def test_a_claim_costs_the_same_with_many_tenants(
    client: Client, raw: "redis.Redis", make_leases: MakeLeases, tenants: int
) -> None:
    """Counted in commands, which a busy machine does not change."""
    client.submit_many([{"prompt": "a", "tenant": f"t{number}"} for number in range(tenants)] * 2)
    leases = make_leases(tenant_jobs=5)
    take(leases)
    raw.config_resetstat()
    take(leases)
    stats = raw.info("commandstats")

    own = ("eval", "config", "info", "time")
    assert sum(each["calls"] for name, each in stats.items() if not name.removeprefix("cmdstat_").startswith(own)) < 30
