"""The claims and leases of the transport on a real server, without Celery: who holds a message, and since when."""

import json
import queue
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from tests.support.waiting import wait_until

from imagefleet.contract import messages
from imagefleet.contract.queues import LEVELS, REDELIVERIES_HEADER
from imagefleet.store import records
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet.store.scripts import Command
from imagefleet_worker.queue import attempt_records, claims
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.deferred_commands import DeferredCommands
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.message_check import parse_message
from imagefleet_worker.queue.redelivery import Redelivery

KEYS = Keys("t:")
QUEUE = "q"
MakeLeases = Callable[..., Leases]


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

    def make(listener: ClaimListener | None = None) -> Leases:
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        made.append((Leases(client, keys=KEYS, duration_s=1, listener=listener or ClaimListener()), client))
        return made[-1][0]

    yield make
    for leases, client in made:
        leases.close()
        client.close()


class Listener(ClaimListener):
    """Keeps what it is told, and fails if it is asked to."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails
        self.claims: list[str] = []
        self.lost: queue.Queue[str] = queue.Queue()
        self.canceled: queue.Queue[str] = queue.Queue()

    def claimed(self, claim: Claim, *, concurrency_limit: int | None = None) -> None:
        self.claims.append(claim.token)

    def released(self, token: str) -> None:
        if token in self.claims:  # else its claim found nothing
            self.claims.remove(token)

    def mark_lost(self, token: str) -> None:
        self.lost.put(token)

    def cancel(self, job_id: str) -> None:
        self.canceled.put(job_id)
        if self._fails:
            raise ValueError("a broken listener")


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


def test_a_message_whose_result_is_awaited_outlives_its_job(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """A worker takes it and says in Celery's backend how the job ended; else `AsyncResult.get` would wait for ever."""
    awaited = json.loads(message("canceled"))
    awaited["headers"]["ignore_result"] = False
    raw.lpush(f"{KEYS.prefix}{QUEUE}", json.dumps(awaited))
    raw.hset(KEYS.job("canceled"), mapping={"status": "canceled", "queued_at": "1"})

    claimed = make_leases().claim([QUEUE])

    assert claimed
    assert id_of(claimed.message) == "canceled"
    assert claimed.started is None
    assert raw.hget(KEYS.job("canceled"), "status") == "canceled"


def test_a_message_that_its_task_puts_back_is_first_and_known_as_redelivered(
    raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    push(raw, "one", "two")
    leases = make_leases()

    leases.requeue(claim(leases))

    claimed = leases.claim([QUEUE])
    assert claimed
    assert id_of(claimed.message) == "one"
    parsed = parse_message(claimed.message, token="t", queue=QUEUE, tasks=["tiny.work"])
    assert parsed["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE, "redelivered": True}
    following = leases.claim([QUEUE])
    assert following
    first = parse_message(following.message, token="t", queue=QUEUE, tasks=["tiny.work"])
    assert first["properties"]["delivery_info"]["redelivered"] is False


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
    listener = Listener()
    leases = make_leases(listener)
    token = claim(leases)
    raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30))  # nothing: it has not run out
    raw.hset(KEYS.owners, token, "other")

    assert listener.lost.get(timeout=5) == token

    assert not leases.is_held(token)
    assert leases.claim_for(token).owner != leases.owner
    leases.ack(token)
    assert raw.hget(KEYS.owners, token) == "other"


def test_a_listener_that_fails_does_not_end_the_renewals(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    listener = Listener(fails=True)
    leases = make_leases(listener)
    token = claim(leases)
    raw.hset(KEYS.job("one"), "cancel", "1")
    for _ in range(9):  # renewed every quarter of a second: for longer than the lease
        assert listener.canceled.get(timeout=5) == "one"

    assert raw.execute_command(*claims.take_over(KEYS, owner="other", duration_s=30)) == []
    assert leases.is_held(token)


def test_a_cancel_of_a_held_job_is_heard_at_the_next_renewal(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    listener = Listener()
    claim(make_leases(listener))

    raw.hset(KEYS.job("one"), "cancel", "1")

    assert listener.canceled.get(timeout=5) == "one"


@pytest.mark.parametrize("end", ["ack", "give_back", "postpone", "has_ended"])
def test_a_listener_knows_at_any_time_what_is_held(raw: "redis.Redis", make_leases: MakeLeases, end: str) -> None:
    push(raw, "one", "two")
    listener = Listener()
    leases = make_leases(listener)
    first, second = claim(leases), claim(leases)
    assert listener.claims == [first, second]

    getattr(leases, end)(first, **({"due_in_s": 60} if end == "postpone" else {}))

    assert listener.claims == [second]
    assert end == "give_back" or leases.claim([QUEUE]) is None
    assert listener.claims[0] == second


def test_everything_given_back_is_first_again_in_its_old_order(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one", "two", "three", "four")
    leases = make_leases()
    for _ in range(3):
        claim(leases)

    assert leases.give_back_all() == 3

    assert waiting(raw) == ["one", "two", "three", "four"]
    assert REDELIVERIES_HEADER not in json.loads(raw.lindex(KEYS.lists(QUEUE)[1], -1))["headers"]
    assert raw.zcard(KEYS.leases) == 0


def test_a_drain_gives_back_what_no_thread_has_begun(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """In its old order, and what has begun stays."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    _, second, _ = (claim(leases) for _ in range(3))
    leases.note_begun(second)

    assert leases.give_back_waiting() == 2

    assert waiting(raw) == ["one", "three"]
    assert leases.is_held(second)


def test_two_threads_that_give_back_the_same_messages_keep_their_order(
    raw: "redis.Redis", make_leases: MakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain does, and Celery's end of a rate limit: the messages of both went back in any order."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    tokens = [claim(leases) for _ in range(3)]
    second = threading.Thread(target=leases.give_back_in_order, args=(tokens,))
    send = DeferredCommands.send

    def send_late(commands: DeferredCommands, command: Command) -> None:
        """The first command goes after all that the second thread would send if nothing held it up."""
        if second.ident is None:
            second.start()
            second.join(0.2)
        send(commands, command)

    monkeypatch.setattr(DeferredCommands, "send", send_late)
    leases.give_back_in_order(tokens)
    second.join()

    assert waiting(raw) == ["one", "two", "three"]


def test_a_job_that_hears_of_its_loss_ends_no_claim(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """Its thread lets Celery acknowledge the message, while the others are still on their way back."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    tokens = [claim(leases) for _ in range(3)]

    assert leases.give_back_all(on_taken=lambda: [leases.ack(token) for token in tokens]) == 3

    assert waiting(raw) == ["one", "two", "three"]


def test_a_signal_in_the_middle_of_giving_back_gives_back_all(
    raw: "redis.Redis", make_leases: MakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler ends the process, and what it has interrupted does not go on."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    for _ in range(3):
        claim(leases)
    send = DeferredCommands.send
    sent: list[Command] = []

    def interrupted(commands: DeferredCommands, command: Command) -> None:
        """The second command is interrupted before it is sent."""
        sent.append(command)
        if len(sent) == 2:
            leases.give_back_all()
            raise SystemExit
        send(commands, command)

    monkeypatch.setattr(DeferredCommands, "send", interrupted)
    with pytest.raises(SystemExit):
        leases.give_back_all()

    assert waiting(raw) == ["one", "two", "three"]


def test_what_redis_could_not_take_is_sent_before_the_process_ends(
    raw: "redis.Redis", make_leases: MakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was away for a moment: the end that is kept holds up all that come behind it."""
    push(raw, "one", "two", "three")
    leases = make_leases()
    first, *_ = (claim(leases) for _ in range(3))
    execute = DeferredCommands._execute

    def away(_: DeferredCommands, _command: Command) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(DeferredCommands, "_execute", away)
        leases.ack(first)
        assert leases.ends_unsent() == 1
        leases.give_back_all()
        assert leases.ends_unsent() == 3
    assert DeferredCommands._execute is execute

    leases.give_back_all()

    assert (leases.ends_sent(), leases.ends_unsent()) == (3, 0)
    assert waiting(raw) == ["two", "three"]


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
    started = attempt_records.start(KEYS, "one", claim=leases.claim_for(token), worker="w", model="m")
    assert raw.execute_command(*started)[0] == "started"

    if way == "postponed":
        leases.postpone(token, due_in_s=600)
    else:
        leases.give_back(token)

    assert raw.hget(KEYS.job("one"), "status") == "queued"
    assert raw.execute_command(*records.cancel(KEYS, "one", result="{}", event="{}")) == "canceled"
