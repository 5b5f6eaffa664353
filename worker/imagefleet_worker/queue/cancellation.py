"""Cancellation: listens for cancels of running jobs, and cancels jobs that Celery's remote control revokes."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis
import structlog

from imagefleet.contract.queues import check_job_id
from imagefleet.errors import InvalidJob, reason_of
from imagefleet.store import endings
from imagefleet.store.keys import Keys

log = structlog.get_logger(__name__)


def cancel(client: "redis.Redis", *, keys: Keys, job_ids: Iterable[str]) -> None:
    """Cancel those of *job_ids* that have a record.

    Raises:
        redis.RedisError: if Redis cannot be reached.
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

    A cancel that is published while this connection is broken is not lost: each renewal of leases reports it.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys, on_cancel: Callable[[str], None]) -> None:
        self._client = client
        self._channel = keys.control
        self._on_cancel = on_cancel
        self._stopped = threading.Event()

    def start(self) -> None:
        """Listen, in a thread of its own."""
        threading.Thread(target=self._run, name="cancel-listener", daemon=True).start()

    def stop(self) -> None:
        """Listen no more, from the next message on or after five seconds."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                log.debug("cancel listener reconnects", error=reason_of(error))
                self._stopped.wait(1.0)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._channel)
            while not self._stopped.is_set():
                message = subscription.get_message(timeout=5.0)
                if message:
                    self._on_cancel(str(message["data"]))
