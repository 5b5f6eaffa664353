"""Redelivery: each worker puts back the messages of dead workers, and the messages whose time has come."""

import json
import time
from typing import Any

import redis
import structlog
from redis.exceptions import NoPermissionError

from imagefleet.store.keys import Keys
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.lost_workers import count_redelivery

log = structlog.get_logger(__name__)


def as_redelivered(message: str) -> str:
    """*message*, marked as kombu marks one that was delivered before; as it is where it cannot be read."""
    try:
        envelope: Any = json.loads(message)
        properties = envelope["properties"]
        delivery = {**properties["delivery_info"], "redelivered": True}
        headers = {**envelope["headers"], "redelivered": True}
        return json.dumps({**envelope, "headers": headers, "properties": {**properties, "delivery_info": delivery}})
    except (ValueError, TypeError, KeyError, RecursionError):
        return message


class Redelivery:
    """Takes over claims as *owner*, with leases of *duration_s* seconds.

    Lost workers of a job count together if they were lost within *window_s* seconds.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys, owner: str, duration_s: float, window_s: float) -> None:
        #: Messages of dead workers that were put back.
        self.count = 0
        #: Seconds from the last `promote` until the next message is due; None if none waits for a time.
        self.next_due_in_s: float | None = None
        self._client = client
        self._keys = keys
        self._owner = owner
        self._duration_s = duration_s
        self._window_s = window_s
        self._redelivers_from = 0.0

    def hold_off(self) -> None:
        """Redeliver nothing for *duration_s*: Redis was out of reach, so workers could not renew their leases."""
        self._redelivers_from = time.monotonic() + self._duration_s

    def promote(self) -> bool:
        """Put messages whose time has come into their lists. Whether there were any."""
        moved = 0
        while True:
            reply: Any = self._client.execute_command(*claims.promote(self._keys))
            count, due_in_s = reply
            moved += count
            if count < claims.AT_ONCE:
                self.next_due_in_s = float(due_in_s) if due_in_s else None
                return moved > 0

    def redeliver(self) -> bool:
        """Put back messages whose leases have run out. Whether there were any."""
        # Workers could not renew their leases either while Redis restarted.
        if time.monotonic() < self._redelivers_from or self._uptime_s() < self._duration_s:
            return False
        found: Any = self._client.execute_command(
            *claims.take_over(self._keys, owner=self._owner, duration_s=self._duration_s)
        )
        for token, message, loss in zip(found[::3], found[1::3], found[2::3], strict=True):
            changed = count_redelivery(message, loss, window_s=self._window_s)
            self._client.execute_command(*claims.give_back(self._keys, token=token, owner=self._owner, message=changed))
            self.count += 1
            log.warning("redelivered the message of a dead worker", was_on_device=bool(loss))
        return bool(found)

    def _uptime_s(self) -> float:
        try:
            return float(self._client.info("server")["uptime_in_seconds"])  # type: ignore[index]  # a mapping
        except NoPermissionError:
            return float("inf")
