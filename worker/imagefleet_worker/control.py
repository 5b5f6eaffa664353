"""Control: hears at once when somebody cancels a running job."""

import threading
from collections.abc import Callable

import redis
import structlog

from imagefleet.queues import Keys

log = structlog.get_logger(__name__)


class CancelListener:
    """Calls *on_cancel* with the id of each running job that is canceled.

    What is said while Redis is away is not lost: the leases are asked for canceled jobs at every renewal.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys, on_cancel: Callable[[str], None]) -> None:
        self._client = client
        self._channel = keys.control
        self._on_cancel = on_cancel
        threading.Thread(target=self._run, name="cancel-listener", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except redis.RedisError as error:
                log.debug("cancel listener reconnects", error=str(error))
                threading.Event().wait(1.0)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._channel)
            while True:
                message = subscription.get_message(timeout=5.0)
                if message:
                    self._on_cancel(str(message["data"]))
