"""Device entries: which claimed jobs are on the device of this process, noted in Redis.

Only such a job can be the cause if the process is lost. The notes of a claim end with it.
"""

from typing import Final

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys
from imagefleet.store.records import PENDING_TTL_S, Claim
from imagefleet.store.scripts import load
from imagefleet_worker.queue.claims import LUA

log = structlog.get_logger(__name__)

_ENTER: Final = load("enter_device", folder=LUA)


class DeviceEntries:
    """The entries of the process *owner*, whose name is *worker*."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, owner: str, worker: str) -> None:
        self._client = client
        self._keys = keys
        self._owner = owner
        self._worker = worker
        self._is_draining = False

    def enter(self, claim: Claim, *, device: str) -> bool:
        """Note that the job of *claim* is about to enter *device*; False if the claim is another process's by now.

        While Redis is away or the process drains nothing is noted: then a loss is not held against the job.
        """
        if self._is_draining or not claim.token:
            return True
        command = _ENTER(
            owners=self._keys.owners,
            entered=self._keys.on_device(self._owner),
            token=claim.token,
            owner=claim.owner,
            worker=self._worker,
            device=device,
            ttl_s=PENDING_TTL_S,
        )
        try:
            return bool(self._client.execute_command(*command))
        except redis.RedisError as error:
            log.warning("not noted that a job is on the device", error=reason_of(error))
            return True

    def clear(self) -> None:
        """Remove all notes, and make no more: whoever asked the process to end may kill it before its jobs end."""
        self._is_draining = True
        self._try("DEL", self._keys.on_device(self._owner))

    def note_end(self, sentence: str) -> None:
        """Note why this process is about to end itself with jobs on its device."""
        key = self._keys.on_device(self._owner)
        self._try("HSET", key, "end", sentence)
        self._try("EXPIRE", key, PENDING_TTL_S)

    def _try(self, *command: str | int) -> None:
        try:
            self._client.execute_command(*command)
        except redis.RedisError as error:
            log.warning("the notes of this device are as they were", error=reason_of(error))
