"""The notifier on a real server: it notifies as soon as a message waits, and only then."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.asynchronous import Hub
from tests.support.servers.redis_pair import RedisPair

from imagefleet.contract import messages
from imagefleet.contract.queues import LEVELS
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.notifier import QueueNotifier

KEYS = Keys("t:")
QUEUE = "q"


def push(raw: "redis.Redis", name: str, *, level: str = "") -> None:
    raw.lpush(f"{KEYS.prefix}{QUEUE}{level}", messages.encode("tiny.work", {}, message_id=name, queue=QUEUE))


class LoopedNotifier:
    """A notifier in a loop of its own, which counts its notifications."""

    def __init__(self, url: str) -> None:
        self.notified = threading.Semaphore(0)
        #: What the loop does at the next notification, as a claim would.
        self.claim: Callable[[QueueNotifier], None] | None = None
        self.client = redis.Redis.from_url(
            url, protocol=3, socket_timeout=5, client_name="notifier", decode_responses=True
        )
        self._hub = Hub()
        self._thread = threading.Thread(target=self._hub.run_forever)
        lists = [*KEYS.lists(QUEUE), *KEYS.lanes(QUEUE)]
        self._notifier = QueueNotifier(self.client, list_keys=lists, on_message=self._on_message, loop=self._hub)
        self._thread.start()

    def arm(self, *, found_nothing: bool = False) -> None:
        self._in_loop(lambda: self._notifier.arm(found_nothing=found_nothing))

    def notifies_within(self, timeout_s: float) -> bool:
        return self.notified.acquire(timeout=timeout_s)

    def close(self) -> None:
        self._in_loop(self._notifier.close)
        self._hub.stop()
        self._thread.join(10)
        self._hub.close()
        self.client.close()

    def _on_message(self) -> None:
        claim, self.claim = self.claim, None
        if claim:
            claim(self._notifier)
        self.notified.release()

    def _in_loop(self, function: Callable[[], Any]) -> Any:
        """What *function* gives, called where all of a notifier is called."""
        answer: queue.Queue[Any] = queue.Queue()
        self._hub.call_soon(lambda: answer.put(function()))
        return answer.get(timeout=10)


@pytest.fixture
def notifier(redis_url: str) -> Iterator[LoopedNotifier]:
    notifier = LoopedNotifier(redis_url)
    yield notifier
    notifier.close()


@pytest.mark.parametrize("level", LEVELS, ids=["urgent", "default", "3", "6", "9"])
def test_the_notifier_notifies_of_each_list_at_once(raw: "redis.Redis", notifier: LoopedNotifier, level: str) -> None:
    """Also where the list did not exist before, and well within the wait after which it looks anyhow."""
    notifier.arm()

    push(raw, "one", level=level)

    assert notifier.notifies_within(0.5)


def test_the_notifier_notifies_at_once_if_a_message_waits(raw: "redis.Redis", notifier: LoopedNotifier) -> None:
    """So none is missed between an empty claim and the waiting."""
    push(raw, "one")
    notifier.arm()

    assert notifier.notifies_within(0.5)


def test_the_notifier_watches_lists_only(raw: "redis.Redis", notifier: LoopedNotifier) -> None:
    """Not of the claims of other workers, which change all the time."""
    notifier.arm()

    raw.execute_command(*claims.claim(KEYS, queues=["another"], token="t", owner="me", duration_s=30))
    raw.zadd(KEYS.leases, {"t": 1})
    raw.hset(KEYS.owners, "t", "me")

    assert not notifier.notifies_within(0.5)
    push(raw, "one")
    assert notifier.notifies_within(0.5)


def test_a_notifier_whose_claim_found_nothing_waits_for_others(
    raw: "redis.Redis", notifier: LoopedNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the idle workers of a fleet do not all ask for the one message that has come."""
    monkeypatch.setattr("imagefleet_worker.queue.notifier._LONGEST_BACKOFF_S", 0.3)
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)
    for _ in range(8):
        notifier.arm(found_nothing=True)

    push(raw, "one")
    raw.delete(*KEYS.lists(QUEUE))  # another worker has claimed it

    assert not notifier.notifies_within(0.8)
    push(raw, "two")
    assert notifier.notifies_within(0.8)


def test_a_message_that_comes_right_after_an_empty_claim_is_not_missed(
    raw: "redis.Redis", notifier: LoopedNotifier
) -> None:
    """Redis' notification of it lies in the socket, where that of the message before it was."""

    def claim_too_late(armed_again: QueueNotifier) -> None:
        raw.delete(*KEYS.lists(QUEUE))  # another worker was faster
        armed_again.arm(found_nothing=True)
        push(raw, "two")
        raw.ping()  # Redis has sent its notification before this reply

    notifier.arm()
    notifier.claim = claim_too_late
    push(raw, "one")

    assert notifier.notifies_within(1)
    assert notifier.notifies_within(1)


def test_a_message_that_no_claim_finds_does_not_keep_the_loop_busy(
    raw: "redis.Redis", notifier: LoopedNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a lane that another program has written to by hand: it notifies, but not at once."""
    monkeypatch.setattr("imagefleet_worker.queue.notifier._SHORTEST_BACKOFF_S", 0.4)
    monkeypatch.setattr("imagefleet_worker.queue.notifier._LONGEST_BACKOFF_S", 0.4)
    raw.zadd(KEYS.lanes(QUEUE)[0], {"x": 1})
    notifier.arm(found_nothing=True)

    assert not notifier.notifies_within(0.2)
    assert notifier.notifies_within(1)


def test_a_notifier_that_is_not_armed_is_silent(raw: "redis.Redis", notifier: LoopedNotifier) -> None:
    """A busy worker is not woken for messages that it cannot use."""
    push(raw, "one")

    assert not notifier.notifies_within(0.5)


def test_the_notifier_survives_a_cut_connection(raw: "redis.Redis", notifier: LoopedNotifier) -> None:
    """It notifies, so that a claim connects again; and then it is notified again."""
    notifier.arm()
    for client in raw.client_list():
        if client["name"] == "notifier":
            raw.client_kill(client["addr"])

    assert notifier.notifies_within(5)
    notifier.arm()
    push(raw, "one")
    assert notifier.notifies_within(0.5)


@pytest.mark.parametrize("missing", ["tracking", "caching"])
def test_a_notifier_without_tracking_polls(raw: "redis.Redis", redis_url: str, missing: str) -> None:
    """Some servers and proxies know no CLIENT TRACKING, or do not allow all of it."""
    rights = ["+@all", f"-client|{missing}"]
    raw.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=rights)
    deaf = LoopedNotifier(redis_url.replace("redis://", "redis://deaf:any@"))
    try:
        deaf.arm()
        push(raw, "one")
        assert deaf.notifies_within(1)
    finally:
        deaf.close()
        raw.acl_deluser("deaf")


def test_the_notifier_leaves_a_server_that_has_become_a_replica(tmp_path: Path) -> None:
    """The connection stays open, and a replica that follows nobody would never notify."""
    with RedisPair(tmp_path) as pair, closing(LoopedNotifier(pair.url)) as notifier:
        notifier.arm()
        pair.fail_over()
        pair.isolate_replica()
        with redis.Redis.from_url(pair.url) as raw:
            push(raw, "one")

        assert notifier.notifies_within(5)
