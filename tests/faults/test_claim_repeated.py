"""A claim whose answer was lost is asked for again by redis-py, as the same command."""

import redis

from imagefleet import Client
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import claims


def test_a_claim_that_is_sent_twice_takes_one_message(redis_url: str) -> None:
    """The second answer is the first one again, and the other message stays in its list."""
    keys = Keys()
    with Client(redis_url) as client, redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        client.submit_many(["a cat", "a dog"], ids=["first", "second"])
        command = claims.claim(keys, queues=["imagefleet.default"], token="t", owner="me", duration_s=30)

        first, again = raw.execute_command(*command), raw.execute_command(*command)

        assert first == again
        assert client.queue_length() == 1
        assert raw.hlen(keys.claims) == 1
