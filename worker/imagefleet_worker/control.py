"""Control: hears at once when somebody cancels a running job, and cancels in the name of others."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis
import structlog

from imagefleet import endings
from imagefleet.errors import InvalidJob
from imagefleet.queues import Keys, check_job_id

log = structlog.get_logger(__name__)


def cancel(client: "redis.Redis", *, keys: Keys, job_ids: Iterable[str]) -> None:
    """Cancel those of *job_ids* that have a record.

    Raises:
        redis.RedisError: where Redis cannot be reached.
    """
    for job_id in filter(_may_be_a_job, job_ids):
        known: Any = client.execute_command(*endings.read(keys, job_id))
        client.execute_command(*endings.cancel(keys, job_id, known))


def _may_be_a_job(name: str) -> bool:
    try:
        check_job_id(name)
    except InvalidJob:
        return False
    return True


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
