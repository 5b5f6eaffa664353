"""The claims and leases of the transport on a real server, without Celery: who holds a message, and since when."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from kombu.asynchronous import Hub
from tests.support.waiting import wait_until

from imagefleet import messages, records
from imagefleet.queues import LEVELS, REDELIVERIES_HEADER, Keys
from imagefleet_worker import claims, runs
from imagefleet_worker.doorbell import Doorbell
from imagefleet_worker.leases import Leases
from imagefleet_worker.redelivery import Redelivery

KEYS = Keys("t:")
QUEUE = "q"
MakeLeases = Callable[[], Leases]


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def make_leases(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLeases]:
    """Makes the leases of one more process, each with connections of its own; their clocks tick until the test ends."""
    # The shared server may be younger than a lease, which is the grace that another test is about.
    monkeypatch.setattr(Redelivery, "_uptime_s", lambda _: float("inf"))
    made: list[tuple[Leases, redis.Redis]] = []

    def make() -> Leases:
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        made.append((Leases(client, keys=KEYS, duration_s=1), client))
        return made[-1][0]

    yield make
    for leases, client in made:
        leases.close()
        client.close()


def message(name: str) -> str:
    """A message that can be told from others by its id."""
    return messages.encode("tiny.work", {}, message_id=name, queue=QUEUE)


def push(raw: "redis.Redis", *names: str, level: str = "") -> None:
    for name in names:
        raw.lpush(f"{KEYS.prefix}{QUEUE}{level}", message(name))


def id_of(text: str) -> str:
    return str(json.loads(text)["headers"]["id"])


def waiting(raw: "redis.Redis") -> list[str]:
    """Ids in the list of the default priority, the next one first."""
    return [id_of(text) for text in reversed(raw.lrange(KEYS.lists(QUEUE)[1], 0, -1))]


def claim(leases: Leases) -> str:
    """Claim one message and give its token."""
    claimed = leases.claim([QUEUE])
    assert claimed
    leases.note_job(claimed.token, id_of(claimed.message))
    return claimed.token


def is_gone(raw: "redis.Redis", token: str) -> bool:
    """Whether nothing is left of a claim."""
    hashes = (KEYS.claims, KEYS.owners, KEYS.origins)
    return raw.zscore(KEYS.leases, token) is None and not any(raw.hexists(key, token) for key in hashes)


def test_claims_follow_the_levels_then_the_order_of_arrival(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """The most urgent list first, in each the oldest message, whatever the order they came in."""
    for level in reversed(LEVELS):
        push(raw, f"first{LEVELS.index(level)}", f"second{LEVELS.index(level)}", level=level)
    leases = make_leases()

    got = [id_of(claimed.message) for _ in range(10) if (claimed := leases.claim([QUEUE]))]

    assert got == [f"{which}{level}" for level in range(5) for which in ("first", "second")]
    assert leases.claim([QUEUE]) is None


def test_levels_outrank_queues(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """An urgent message of the second queue comes before an ordinary one of the first."""
    push(raw, "ordinary")
    raw.lpush(KEYS.lists("other")[0], message("urgent"))
    leases = make_leases()

    got = [id_of(claimed.message) for _ in range(2) if (claimed := leases.claim([QUEUE, "other"]))]

    assert got == ["urgent", "ordinary"]


@pytest.mark.parametrize("status", ["canceled", "expired"])
def test_a_message_whose_job_ended_while_queued_is_dropped(
    raw: "redis.Redis", make_leases: MakeLeases, status: str
) -> None:
    """The next claim takes the one behind it."""
    push(raw, *(f"gone{n}" for n in range(1500)), "alive")
    for number in range(1500):
        raw.hset(KEYS.job(f"gone{number}"), "status", status)

    claimed = make_leases().claim([QUEUE])

    assert claimed
    assert id_of(claimed.message) == "alive"
    assert waiting(raw) == []
    assert raw.hlen(KEYS.claims) == 1


def test_a_claim_sent_twice_takes_one_message(raw: "redis.Redis") -> None:
    """redis-py sends a command again where the reply was lost: the first message must not be overwritten."""
    push(raw, "one", "two")
    command = claims.claim(KEYS, queues=[QUEUE], token="t", owner="me", duration_s=30)

    first, again = raw.execute_command(*command), raw.execute_command(*command)

    assert first == again
    assert waiting(raw) == ["two"]


def test_a_claim_says_whether_there_is_more(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one", "two")
    leases = make_leases()

    claimed = [claim for _ in range(2) if (claim := leases.claim([QUEUE]))]

    assert [each.is_more for each in claimed] == [True, False]


def test_a_claim_sent_again_after_its_take_over_is_not_the_first_owners(raw: "redis.Redis") -> None:
    push(raw, "one")
    command = claims.claim(KEYS, queues=[QUEUE], token="t", owner="me", duration_s=0)
    raw.execute_command(*command)
    raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30))

    assert raw.execute_command(*command) == ["", "", 1]
    assert raw.hget(KEYS.owners, "t") == "other"


def test_only_the_owner_ends_a_claim(raw: "redis.Redis") -> None:
    """Acknowledging, giving back and postponing do nothing for anybody else, and remove all of it for the owner."""
    push(raw, "one")
    raw.execute_command(*claims.claim(KEYS, queues=[QUEUE], token="t", owner="me", duration_s=30))
    for end in (claims.acknowledge, claims.give_back):
        assert raw.execute_command(*end(KEYS, token="t", owner="other")) == 0
    assert raw.execute_command(*claims.postpone(KEYS, token="t", owner="other", due_in_s=0)) == 0
    assert waiting(raw) == []

    assert raw.execute_command(*claims.acknowledge(KEYS, token="t", owner="me")) == 1

    assert is_gone(raw, "t")


def test_a_held_message_is_nobody_elses_for_as_long_as_its_owner_lives(
    raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    """Three leases long, with another process waiting to take over."""
    push(raw, "one")
    leases, other = make_leases(), make_leases()
    token = claim(leases)
    assert other.claim([QUEUE]) is None

    threading.Event().wait(3)

    assert leases.is_held(token)
    assert raw.hget(KEYS.owners, token) == leases.owner
    assert other.redelivery.count == 0


def test_what_a_dead_process_held_goes_to_another_counted_and_first(
    raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    push(raw, "one", "two")
    dead, alive = make_leases(), make_leases()
    token = claim(dead)
    dead.close()
    assert alive.claim(["nothing"]) is None

    wait_until(lambda: waiting(raw) == ["one", "two"], 5)
    claimed = alive.claim([QUEUE])

    assert claimed
    assert json.loads(claimed.message)["headers"][REDELIVERIES_HEADER] == 1
    assert is_gone(raw, token)


def test_a_process_that_was_stopped_learns_that_its_lease_is_lost(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """It no longer holds it, its acknowledgement changes nothing, and a fenced script gets another owner's name."""
    push(raw, "one")
    leases, lost = make_leases(), threading.Event()
    token = claim(leases)
    leases.on_lost = lambda which: lost.set() if which == token else None
    raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30))  # nothing: it has not run out
    raw.hset(KEYS.owners, token, "other")

    assert lost.wait(5)

    assert not leases.is_held(token)
    assert leases.claim_for(token).owner != leases.owner
    leases.ack(token)
    assert raw.hget(KEYS.owners, token) == "other"


def test_a_hook_that_fails_does_not_end_the_renewals(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    leases, called = make_leases(), threading.Event()

    def fail(_job_id: str) -> None:
        called.set()
        raise ValueError("a broken hook")

    leases.on_cancel = fail
    token = claim(leases)
    raw.hset(KEYS.job("one"), "cancel", "1")
    assert called.wait(5)
    threading.Event().wait(2)

    assert raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30)) == []
    assert leases.is_held(token)


def test_a_cancel_of_a_held_job_is_heard_at_the_next_renewal(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    leases, canceled = make_leases(), threading.Event()
    leases.on_cancel = lambda job_id: canceled.set() if job_id == "one" else None
    claim(leases)

    raw.hset(KEYS.job("one"), "cancel", "1")

    assert canceled.wait(5)


def test_everything_given_back_is_first_again_in_its_old_order(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one", "two", "three", "four")
    leases = make_leases()
    for _ in range(3):
        claim(leases)

    assert leases.give_back_all() == 3

    assert waiting(raw) == ["one", "two", "three", "four"]
    assert REDELIVERIES_HEADER not in json.loads(raw.lindex(KEYS.lists(QUEUE)[1], -1))["headers"]
    assert raw.zcard(KEYS.leases) == 0


def test_a_postponed_message_waits_outside_of_its_list_and_comes_back(
    raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    """Changed where another one was given in its place, and whoever is alive brings it."""
    push(raw, "one")
    dead, alive = make_leases(), make_leases()
    token = claim(dead)
    dead.postpone(token, due_in_s=1.5, message=message("later"))
    dead.close()

    assert alive.claim([QUEUE]) is None
    assert is_gone(raw, token)
    wait_until(lambda: waiting(raw) == ["later"], 6)

    assert raw.zcard(KEYS.delayed) == 0


@pytest.fixture
def full_redis(raw: "redis.Redis") -> Iterator[Callable[[], object]]:
    """Makes the server refuse everything that grows, until the test ends."""
    yield lambda: raw.config_set("maxmemory", "1mb")
    raw.config_set("maxmemory", "0")


def test_a_full_redis_stops_producers_and_not_the_workers(
    raw: "redis.Redis", make_leases: MakeLeases, full_redis: Callable[[], object]
) -> None:
    """Claims, renewals, take-overs and the ways back to a list work without memory left."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    token = claim(leases)
    full_redis()
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        push(raw, "refused")

    second = claim(leases)
    leases.postpone(second, due_in_s=0)
    threading.Event().wait(2.5)

    assert raw.hget(KEYS.owners, token) == leases.owner
    assert raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30)) == []
    leases.give_back(token)
    assert waiting(raw) == ["one", "three", "two"]
    raw.execute_command(*claims.claim(KEYS, queues=[QUEUE], token="x", owner="dead", duration_s=-1))
    wait_until(lambda: waiting(raw)[0] == "one" and leases.redelivery.count == 1, 5)


def test_nobody_is_robbed_just_after_redis_was_out_of_reach(
    raw: "redis.Redis", make_leases: MakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all leases have run out, also those of the living, who get a lease's time to renew them."""
    monkeypatch.setattr(Redelivery, "_uptime_s", lambda _: 0.5)
    push(raw, "one")
    raw.execute_command(*claims.claim(KEYS, queues=[QUEUE], token="t", owner="dead", duration_s=-1))
    leases = make_leases()
    assert leases.claim(["nothing"]) is None

    threading.Event().wait(1.5)
    assert leases.redelivery.count == 0
    monkeypatch.setattr(Redelivery, "_uptime_s", lambda _: 1.5)

    wait_until(lambda: waiting(raw) == ["one"], 5)


class Bell:
    """A doorbell in a loop of its own, which counts how often it rings."""

    def __init__(self, url: str) -> None:
        self.rings = threading.Semaphore(0)
        self.client = redis.Redis.from_url(url, protocol=3, socket_timeout=5, client_name="bell")
        self._hub = Hub()
        self._thread = threading.Thread(target=self._hub.run_forever)
        lists = [*KEYS.lists(QUEUE), *KEYS.lanes(QUEUE)]
        self._bell = Doorbell(self.client, list_keys=lists, on_ring=self.rings.release, loop=self._hub)
        self._thread.start()

    def wait(self, *, in_vain: bool = False) -> None:
        self._in_loop(lambda: self._bell.wait(in_vain=in_vain))

    def rings_within(self, timeout_s: float) -> bool:
        return self.rings.acquire(timeout=timeout_s)

    def close(self) -> None:
        self._in_loop(self._bell.close)
        self._hub.stop()
        self._thread.join(10)
        self._hub.close()
        self.client.close()

    def _in_loop(self, function: Callable[[], Any]) -> Any:
        """What *function* gives, called where all of a bell is called."""
        answer: queue.Queue[Any] = queue.Queue()
        self._hub.call_soon(lambda: answer.put(function()))
        return answer.get(timeout=10)


@pytest.fixture
def bell(redis_url: str) -> Iterator[Bell]:
    bell = Bell(redis_url)
    yield bell
    bell.close()


@pytest.mark.parametrize("level", LEVELS, ids=["urgent", "default", "3", "6", "9"])
def test_the_doorbell_rings_for_each_list_at_once(raw: "redis.Redis", bell: Bell, level: str) -> None:
    """Also where the list did not exist before, and well within the wait after which it looks anyhow."""
    bell.wait()

    push(raw, "one", level=level)

    assert bell.rings_within(0.5)


def test_the_doorbell_rings_at_once_where_a_message_waits_already(raw: "redis.Redis", bell: Bell) -> None:
    """So none is missed between an empty claim and the waiting."""
    push(raw, "one")
    bell.wait()

    assert bell.rings_within(0.5)


def test_the_doorbell_hears_of_lists_only(raw: "redis.Redis", bell: Bell) -> None:
    """Not of the claims of other workers, which change all the time."""
    bell.wait()

    raw.execute_command(*claims.claim(KEYS, queues=["another"], token="t", owner="me", duration_s=30))
    raw.zadd(KEYS.leases, {"t": 1})
    raw.hset(KEYS.owners, "t", "me")

    assert not bell.rings_within(0.5)
    push(raw, "one")
    assert bell.rings_within(0.5)


def test_a_doorbell_that_rang_in_vain_stands_back_for_who_is_faster(
    raw: "redis.Redis", bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the idle workers of a fleet do not all ask for the one message that has come."""
    monkeypatch.setattr("imagefleet_worker.doorbell._LONGEST_SPREAD_S", 0.3)
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)
    for _ in range(8):
        bell.wait(in_vain=True)

    push(raw, "one")
    raw.delete(*KEYS.lists(QUEUE))  # another worker has claimed it

    assert not bell.rings_within(0.8)
    push(raw, "two")
    assert bell.rings_within(0.8)


def test_a_message_that_no_claim_finds_does_not_keep_the_loop_busy(
    raw: "redis.Redis", bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a lane that another program has written to by hand: it rings, but not at once."""
    monkeypatch.setattr("imagefleet_worker.doorbell._SHORTEST_SPREAD_S", 0.4)
    monkeypatch.setattr("imagefleet_worker.doorbell._LONGEST_SPREAD_S", 0.4)
    raw.zadd(KEYS.lanes(QUEUE)[0], {"x": 1})
    bell.wait(in_vain=True)

    assert not bell.rings_within(0.2)
    assert bell.rings_within(1)


def test_a_doorbell_that_does_not_wait_is_silent(raw: "redis.Redis", bell: Bell) -> None:
    """A busy worker is not woken for messages that it cannot use."""
    push(raw, "one")

    assert not bell.rings_within(0.5)


def test_the_doorbell_survives_a_cut_connection(raw: "redis.Redis", bell: Bell) -> None:
    """It rings, so that a claim connects anew; and then it hears again."""
    bell.wait()
    for client in raw.client_list():
        if client["name"] == "bell":
            raw.client_kill(client["addr"])

    assert bell.rings_within(5)
    bell.wait()
    push(raw, "one")
    assert bell.rings_within(0.5)


@pytest.mark.parametrize("missing", ["tracking", "caching"])
def test_a_doorbell_that_redis_tells_nothing_looks_often(raw: "redis.Redis", redis_url: str, missing: str) -> None:
    """Some servers and proxies know no CLIENT TRACKING, or do not allow all of it."""
    rights = ["+@all", f"-client|{missing}"]
    raw.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=rights)
    deaf = Bell(redis_url.replace("redis://", "redis://deaf:any@"))
    try:
        deaf.wait()
        push(raw, "one")
        assert deaf.rings_within(1)
    finally:
        deaf.close()
        raw.acl_deluser("deaf")


def test_the_record_of_a_canceled_job_stays_until_its_message_is_dropped(raw: "redis.Redis") -> None:
    """A queue may be longer than the life of results; a canceled job must not be run for that."""
    push(raw, "doomed")
    raw.hset(KEYS.job("doomed"), mapping={"status": "queued"})
    raw.execute_command(*records.cancel(KEYS, "doomed", result="{}", event="{}"))
    before_s = raw.ttl(KEYS.job("doomed"))

    command = claims.claim(KEYS, queues=[QUEUE], token="t", owner="me", duration_s=30, ended_ttl_s=60)
    assert raw.execute_command(*command) is None

    assert before_s > records.PENDING_TTL_S - 60
    assert 0 < raw.ttl(KEYS.job("doomed")) <= 60


@pytest.mark.parametrize("way", ["given back", "postponed"])
def test_a_job_whose_message_waits_again_is_queued_again(raw: "redis.Redis", make_leases: MakeLeases, way: str) -> None:
    """So that a cancel ends it at once, instead of asking a worker that has it no more."""
    push(raw, "one")
    raw.hset(KEYS.job("one"), mapping={"status": "queued", "queued_at": "1"})
    leases = make_leases()
    token = claim(leases)
    started = runs.start(KEYS, "one", claim=leases.claim_for(token), worker="w", model="m")
    assert raw.execute_command(*started)[0] == "started"

    if way == "postponed":
        leases.postpone(token, due_in_s=600)
    else:
        leases.give_back(token)

    assert raw.hget(KEYS.job("one"), "status") == "queued"
    assert raw.execute_command(*records.cancel(KEYS, "one", result="{}", event="{}")) == "canceled"
