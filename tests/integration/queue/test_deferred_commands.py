"""Commands that are sent later: in order, and none is kept back by one that Redis refuses."""

import pytest
import redis
from tests.support.servers.redis import RedisServer

from imagefleet_worker.queue.deferred_commands import DeferredCommands


def test_what_comes_while_others_are_kept_is_sent_behind_them(redis_server: RedisServer, raw: "redis.Redis") -> None:
    """Redis is full for a while: the first is kept, and so is the second, which Redis would have taken."""
    commands = DeferredCommands(raw)
    raw.config_set("maxmemory", "1")
    try:
        commands.send(("RPUSH", "order", "first"))
        raw.config_set("maxmemory", "0")
        commands.send(("RPUSH", "order", "second"))
        assert not raw.exists("order")
    finally:
        raw.config_set("maxmemory", "0")

    commands.catch_up()

    assert raw.lrange("order", 0, -1) == ["first", "second"]
    commands.send(("RPUSH", "order", "third"))
    assert raw.llen("order") == 3


def test_a_command_that_is_refused_for_good_does_not_block_those_behind_it(raw: "redis.Redis") -> None:
    raw.set("text", "x")
    commands = DeferredCommands(raw)
    raw.config_set("maxmemory", "1")
    try:
        commands.send(("RPUSH", "order", "first"))
        commands.send(("LPUSH", "text", "wrong type"))
        commands.send(("RPUSH", "order", "second"))
        with pytest.raises(redis.RedisError):
            commands.catch_up()
    finally:
        raw.config_set("maxmemory", "0")

    commands.catch_up()

    assert raw.lrange("order", 0, -1) == ["first", "second"]
    commands.send(("LPUSH", "text", "wrong type"))
    commands.send(("RPUSH", "order", "third"))
    assert raw.llen("order") == 3
