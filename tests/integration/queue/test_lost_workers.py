"""Which losses of a worker are held against a job: on a real server, with the scripts that note and read them."""

import json
from collections.abc import Callable, Iterator

import pytest
import redis

from imagefleet.contract import messages
from imagefleet.contract.queues import LOST_WORKERS_HEADER, REDELIVERIES_HEADER
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.lost_workers import LostWorker, losses_in
from imagefleet_worker.queue.redelivery import Redelivery

KEYS = Keys("l:")
QUEUE = "q"
MakeLeases = Callable[[str], Leases]


@pytest.fixture
def make_leases(raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLeases]:
    """Makes the leases of one more worker; none of them is renewed within a test."""
    # The shared server may be younger than a lease, which is the grace that another test is about.
    monkeypatch.setattr(Redelivery, "_uptime_s", lambda _: float("inf"))
    made: list[Leases] = []

    def make(worker: str) -> Leases:
        made.append(Leases(raw, keys=KEYS, duration_s=600, worker=worker))
        return made[-1]

    yield make
    for leases in made:
        leases.close()


def push(raw: "redis.Redis", *names: str) -> None:
    for name in names:
        raw.lpush(f"{KEYS.prefix}{QUEUE}", messages.encode("tiny.work", {}, message_id=name, queue=QUEUE))


def take(leases: Leases) -> Claimed:
    claimed = leases.claim([QUEUE])
    assert claimed
    return claimed


def enter(leases: Leases, claimed: Claimed) -> bool:
    return leases.device_entries.enter(leases.claim_for(claimed.token), device="H100")


def lose(raw: "redis.Redis", survivor: Leases, *claimed: Claimed) -> dict[str, tuple[int, tuple[LostWorker, ...]]]:
    """Let the leases of *claimed* run out; for each message its redeliveries and losses, when *survivor* has it."""
    for each in claimed:
        raw.zadd(KEYS.leases, {each.token: 1})
    assert survivor.redelivery.redeliver()
    found = [json.loads(take(survivor).message)["headers"] for _ in claimed]
    return {h["id"]: (h[REDELIVERIES_HEADER], losses_in(h.get(LOST_WORKERS_HEADER))) for h in found}


def test_only_a_job_on_the_device_is_suspected(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """What is known of the worker is kept with the message."""
    push(raw, "runs", "waits")
    dead, alive = make_leases("gpu0@a"), make_leases("gpu1@a")
    runs, waits = take(dead), take(dead)
    assert enter(dead, runs)
    raw.hset(KEYS.job("runs"), "progress", "3/20")

    found = lose(raw, alive, runs, waits)

    assert found["waits"] == (1, ())
    redeliveries, (loss,) = found["runs"]
    assert redeliveries == 1
    assert (loss.worker, loss.device, loss.jobs, loss.steps, loss.ended) == ("gpu0@a", "H100", 1, "3/20", "")
    assert 0 < loss.entered <= loss.at


def test_jobs_whose_leases_run_out_later_are_counted_for_each_other(
    raw: "redis.Redis", make_leases: MakeLeases
) -> None:
    """Claims of one worker are of different ages."""
    push(raw, "one", "two", "three")
    dead, alive = make_leases("gpu0@a"), make_leases("gpu1@a")
    claimed = [take(dead) for _ in range(3)]
    assert all(enter(dead, each) for each in claimed)

    found = lose(raw, alive, *claimed[:2]) | lose(raw, alive, claimed[2])

    assert {name: loss.jobs for name, (_, (loss,)) in found.items()} == {"one": 3, "two": 3, "three": 3}


def test_a_worker_that_drains_is_no_loss(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    """Whoever stopped it may kill it before its jobs end, and that is not their fault."""
    push(raw, "one", "two")
    dead, alive = make_leases("gpu0@a"), make_leases("gpu1@a")
    first, second = take(dead), take(dead)
    enter(dead, first)
    dead.device_entries.clear()
    enter(dead, second)

    assert lose(raw, alive, first, second) == {"one": (1, ()), "two": (1, ())}


def test_a_process_says_how_it_ends(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    dead, alive = make_leases("gpu0@a"), make_leases("gpu1@a")
    claimed = take(dead)
    enter(dead, claimed)
    dead.device_entries.note_end("CUDA error: an illegal memory access was encountered")

    (_, (loss,)) = lose(raw, alive, claimed)["one"]

    assert (loss.jobs, loss.ended) == (1, "CUDA error: an illegal memory access was encountered")


def test_who_has_lost_the_lease_does_not_enter(raw: "redis.Redis", make_leases: MakeLeases) -> None:
    push(raw, "one")
    slow, other = make_leases("gpu0@a"), make_leases("gpu1@a")
    claimed = take(slow)
    lose(raw, other, claimed)

    assert not enter(slow, claimed)


@pytest.mark.parametrize("end", ["ack", "give_back", "postpone"])
def test_a_note_ends_with_its_claim(raw: "redis.Redis", make_leases: MakeLeases, end: str) -> None:
    push(raw, "one")
    leases = make_leases("gpu0@a")
    claimed = take(leases)
    enter(leases, claimed)
    assert raw.exists(KEYS.on_device(leases.owner))

    getattr(leases, end)(claimed.token, **({"due_in_s": 60} if end == "postpone" else {}))

    assert not raw.exists(KEYS.on_device(leases.owner))
