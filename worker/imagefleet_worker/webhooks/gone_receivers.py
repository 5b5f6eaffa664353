"""Gone receivers: URLs that answered 410, to which nothing is sent for a while."""

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys

log = structlog.get_logger(__name__)


class GoneReceivers:
    """The URLs that want no more events, kept in Redis for *for_s* seconds, for all senders."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, for_s: int) -> None:
        self._client = client
        self._keys = keys
        self._for_s = for_s

    def has(self, url: str) -> bool:
        """Whether *url* is gone; False if Redis does not answer, so that the URL is tried once more."""
        try:
            return bool(self._client.exists(self._keys.gone(url)))
        except redis.RedisError as error:
            log.warning("not known whether the receiver is gone", error=reason_of(error))
            return False

    def add(self, url: str) -> None:
        """Note that *url* answered 410; the time counts from the first 410."""
        if not self._for_s:
            return
        try:
            self._client.set(self._keys.gone(url), "1", ex=self._for_s, nx=True)
        except redis.RedisError as error:  # the next delivery gets the same response
            log.warning("not noted that the receiver is gone", error=reason_of(error))

    def remove(self, url: str) -> None:
        """Note that *url* accepted a webhook after all."""
        try:
            self._client.delete(self._keys.gone(url))
        except redis.RedisError as error:  # the note expires
            log.warning("not noted that the receiver is back", error=reason_of(error))
