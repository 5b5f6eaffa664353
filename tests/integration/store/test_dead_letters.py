"""Dead letters on a real server: what is kept, for how long, and how it gets back into its list."""

import json
from collections.abc import Iterator

import pytest
import redis

from imagefleet.contract import messages
from imagefleet.contract.queues import REDELIVERIES_HEADER
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys

KEYS = Keys("t:")
LIST = KEYS.list_for("q", 9)
MANY = 1000


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def letter(name: str, *, redeliveries: int = 3) -> DeadLetter:
    """The letter of a job that was poison."""
    message = json.loads(messages.encode("imagefleet.generate", {}, message_id=name, queue="q"))
    message["headers"][REDELIVERIES_HEADER] = redeliveries
    return DeadLetter(
        job_id=name,
        task="imagefleet.generate",
        reason="poisoned",
        message="Three workers fell silent.",
        attempts=redeliveries,
        worker="gpu0@host",
        list_key=LIST,
        original=json.dumps(message),
    )


def bury(raw: "redis.Redis", *letters: DeadLetter, most: int = MANY, ttl_s: int = 60) -> None:
    for each in letters:
        raw.execute_command(*dead_letters.add(KEYS, each, most=most, ttl_s=ttl_s))


def newest(raw: "redis.Redis", count: int = MANY) -> list[DeadLetter]:
    return [DeadLetter.model_validate_json(text) for text in raw.execute_command(*dead_letters.newest(KEYS, count))]


def test_a_letter_is_read_as_it_was_written(raw: "redis.Redis") -> None:
    """With the message as it lay in the list, and its list."""
    one = letter("one")
    bury(raw, one)

    assert newest(raw) == [one]
    assert DeadLetter.model_validate_json(raw.execute_command(*dead_letters.read(KEYS, one.id))) == one
    assert raw.execute_command(*dead_letters.read(KEYS, "another")) is None


def test_the_newest_letters_come_first(raw: "redis.Redis") -> None:
    """Also where many came in one second."""
    letters = [letter(f"job{n}") for n in range(20)]
    bury(raw, *letters)

    assert newest(raw, 5) == letters[:-6:-1]


def test_the_cap_holds_and_the_oldest_make_way(raw: "redis.Redis") -> None:
    """So that a producer of nonsense cannot fill Redis."""
    letters = [letter(f"job{n}") for n in range(20)]
    bury(raw, *letters, most=3)

    assert newest(raw) == letters[:-4:-1]
    assert raw.hlen(KEYS.dead) == raw.zcard(KEYS.dead_index) == 3


def test_letters_past_their_age_make_way(raw: "redis.Redis") -> None:
    old, new = letter("old"), letter("new")
    bury(raw, old)
    raw.zincrby(KEYS.dead_index, -61, old.id)
    bury(raw, new)

    assert newest(raw) == [new]
    assert raw.hlen(KEYS.dead) == 1


def test_a_replay_puts_the_message_back_as_new(raw: "redis.Redis") -> None:
    """On its list, behind what waits, without its redeliveries, and the failed record does not stand in its way."""
    one = letter("one")
    bury(raw, one)
    raw.lpush(LIST, "waiting")
    raw.hset(KEYS.job("one"), "status", "failed")

    assert raw.execute_command(*dead_letters.replay(KEYS, one)) == 1

    assert raw.rpop(LIST) == "waiting"
    back = json.loads(raw.rpop(LIST))
    expected = json.loads(one.original)
    del expected["headers"][REDELIVERIES_HEADER]
    assert back == expected
    assert newest(raw) == []
    assert not raw.exists(KEYS.job("one"))


def test_a_replay_happens_once(raw: "redis.Redis") -> None:
    """Of two people who replay a letter, one does."""
    one = letter("one")
    bury(raw, one)

    assert [raw.execute_command(*dead_letters.replay(KEYS, one)) for _ in range(2)] == [1, 0]
    assert raw.llen(LIST) == 1


def test_a_message_that_is_no_json_is_replayed_as_it_was(raw: "redis.Redis") -> None:
    bad = DeadLetter(reason="malformed", message="not JSON", list_key=LIST, original="hello")
    bury(raw, bad)
    raw.execute_command(*dead_letters.replay(KEYS, bad))

    assert raw.lrange(LIST, 0, -1) == ["hello"]


def test_a_purge_removes_what_is_named_or_all(raw: "redis.Redis") -> None:
    letters = [letter(f"job{n}") for n in range(4)]
    bury(raw, *letters)

    assert raw.execute_command(*dead_letters.purge(KEYS, letters[0].id, letters[1].id, "another")) == 2
    assert newest(raw) == [letters[3], letters[2]]
    assert raw.execute_command(*dead_letters.purge(KEYS)) == 2
    assert not raw.exists(KEYS.dead, KEYS.dead_index)


def test_a_full_redis_still_takes_dead_letters(raw: "redis.Redis") -> None:
    """Or a malformed message could not be put away, and would be claimed again for ever."""
    raw.config_set("maxmemory", "1mb")
    try:
        bury(raw, letter("one"))
    finally:
        raw.config_set("maxmemory", "0")

    assert [each.job_id for each in newest(raw)] == ["one"]
