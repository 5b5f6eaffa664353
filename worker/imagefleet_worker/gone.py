"""Receivers that are gone: URLs that answered 410, to which nothing is sent for a while."""

import redis
import structlog

from imagefleet.queues import Keys

log = structlog.get_logger(__name__)


class GoneReceivers:
    """What all senders know of the URLs that want no more; each is kept in Redis for *for_s*."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, for_s: int) -> None:
        self._client = client
        self._keys = keys
        self._for_s = for_s

    def has(self, url: str) -> bool:
        """Whether *url* is gone. Not known without Redis: then it is asked once more."""
        try:
            return bool(self._client.exists(self._keys.gone(url)))
        except redis.RedisError as error:
            log.warning("not known whether the receiver is gone", error=str(error))
            return False

    def add(self, url: str) -> None:
        """Note that *url* answered 410; the time counts from the first."""
        if not self._for_s:
            return
        try:
            self._client.set(self._keys.gone(url), "1", ex=self._for_s, nx=True)
        except redis.RedisError as error:  # the next delivery is told the same
            log.warning("not noted that the receiver is gone", error=str(error))

    def remove(self, url: str) -> None:
        """Note that *url* took a webhook after all."""
        try:
            self._client.delete(self._keys.gone(url))
        except redis.RedisError as error:  # the note runs out by itself
            log.warning("not noted that the receiver is back", error=str(error))
