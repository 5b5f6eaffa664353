"""Redelivery: what every live worker does for the whole fleet: it hands on what the dead have left, and what is due."""

import time
from typing import Any

import redis
import structlog
from redis.exceptions import NoPermissionError

from imagefleet.queues import Keys
from imagefleet_worker import claims
from imagefleet_worker.envelopes import count_redelivery

log = structlog.get_logger(__name__)


class Redelivery:
    """Done in the name of *owner*, with leases of *duration_s*."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, owner: str, duration_s: float) -> None:
        #: Messages of silent workers that were put back.
        self.count = 0
        self._client = client
        self._keys = keys
        self._owner = owner
        self._duration_s = duration_s
        self._trusting_from = 0.0

    def distrust(self) -> None:
        """Redis was out of reach: the owners get a lease's time to come back."""
        self._trusting_from = time.monotonic() + self._duration_s

    def promote(self) -> bool:
        """Move messages that are due to their lists; whether there were any."""
        return bool(self._client.execute_command(*claims.promote(self._keys)))

    def redeliver(self) -> bool:
        """Put back what workers hold whose leases have run out; whether there was any."""
        # The owners get the same time after a restart of Redis.
        if time.monotonic() < self._trusting_from or self._uptime_s() < self._duration_s:
            return False
        found: Any = self._client.execute_command(
            *claims.take_over(self._keys, owner=self._owner, duration_s=self._duration_s)
        )
        for token, message in zip(found[::2], found[1::2], strict=True):
            command = claims.give_back(self._keys, token=token, owner=self._owner, message=count_redelivery(message))
            self._client.execute_command(*command)
            self.count += 1
            log.warning("redelivered the message of a silent worker")
        return bool(found)

    def _uptime_s(self) -> float:
        try:
            return float(self._client.info("server")["uptime_in_seconds"])  # type: ignore[index]  # a mapping
        except NoPermissionError:
            return float("inf")
