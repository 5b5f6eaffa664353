"""Purge: removes every message that waits in a queue, and ends the jobs of these messages as canceled.

A queue is more than one list: jobs wait by priority, tenants have lanes, and some messages wait for their time. What a
worker holds is not purged; cancel those jobs.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from imagefleet.contract.queues import GENERATE_TASK, check_job_id
from imagefleet.errors import InvalidJob
from imagefleet.store import endings
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load
from imagefleet_worker.queue.claims import AT_ONCE, DEFAULT_ENDED_TTL_S, LUA

if TYPE_CHECKING:
    import redis

_PURGE_MESSAGE: Final = load("purge_message", folder=LUA)
_SENTENCE: Final = "The job was canceled: its queue was purged."


class _Waiting(NamedTuple):
    """A message that waits."""

    list_key: str
    #: `list`, `lanes` or `delayed`.
    place: str
    #: The bytes that lie there; other programs may push what is no UTF-8.
    entry: bytes
    message: str


class Purge:
    """Purges queues through a client that does not decode replies."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, on_purged: Callable[[str], None] = lambda _: None) -> None:
        """Call *on_purged* with each message that was removed."""
        self._client: Any = client
        self._keys = keys
        self._on_purged = on_purged

    def size(self, queue: str) -> int:
        """The number of messages that wait in *queue*, without those that wait for a time."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in self._keys.lists(queue):
                pipe.llen(key)
            for key in self._keys.lanes(queue):
                pipe.zcard(key)
            return sum(pipe.execute())

    def purge(self, queue: str) -> int:
        """Remove all messages that wait in *queue*, and return their number.

        Raises:
            redis.RedisError: If Redis cannot be reached; some may be removed then.
        """
        removed = 0
        for list_key in self._keys.lists(queue):
            for _ in range(self._client.llen(list_key) // AT_ONCE + 1):
                found = self._client.lrange(list_key, -AT_ONCE, -1)
                removed += self._remove(_Waiting(list_key, "list", each, _text(each)) for each in reversed(found))
        for list_key, lanes in zip(self._keys.lists(queue), self._keys.lanes(queue), strict=True):
            for _ in range(self._client.zcard(lanes) // AT_ONCE + 1):
                found = self._client.zrange(lanes, 0, AT_ONCE - 1)
                removed += self._remove(_Waiting(list_key, "lanes", each, _text(each)) for each in found)
        return removed + self._remove(self._delayed(set(self._keys.lists(queue))))

    def _delayed(self, list_keys: set[str]) -> Iterator[_Waiting]:
        for entry, _due in list(self._client.zscan_iter(self._keys.delayed)):
            list_key, message = json.loads(_text(entry))
            if list_key in list_keys:
                yield _Waiting(list_key, "delayed", entry, message)

    def _remove(self, messages: Iterable[_Waiting]) -> int:
        """Remove *messages* and end their jobs; returns how many were still there."""
        waiting = list(messages)
        ids = [_job_id(each.message) for each in waiting]
        with self._client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.execute_command(*endings.read(self._keys, job_id))
            fields = pipe.execute()
            for each, job_id, known in zip(waiting, ids, fields, strict=True):
                texts = [None if value is None else _text(value) for value in known]
                pipe.execute_command(*self._command(each, job_id, texts))
            removed = pipe.execute()
        for each in compress(waiting, removed):
            self._on_purged(each.message)
        return sum(removed)

    def _command(self, waiting: _Waiting, job_id: str, known: list[str | None]) -> Command:
        if not any(known):  # no client has submitted it: only the message says what it asks for
            known = [None, None, None, waiting.message]
        ending = endings.canceled(self._keys, job_id, known, sentence=_SENTENCE)
        return _PURGE_MESSAGE(
            list=waiting.list_key,
            lanes=f"{waiting.list_key}:tenants",
            delayed=self._keys.delayed,
            record=self._keys.job(job_id),
            deadlines=self._keys.deadlines,
            place=waiting.place,
            entry=waiting.entry,
            job_id=job_id,
            groups=self._keys.group(""),
            result=ending.result,
            ttl_s=DEFAULT_ENDED_TTL_S,
            channel=self._keys.events(job_id),
            event=ending.event,
            outgoing=chain.from_iterable(ending.outgoing),
        )


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _job_id(message: str) -> str:
    """The id of the job in *message*; empty if it is none."""
    try:
        headers = json.loads(message)["headers"]
        return check_job_id(headers["id"]) if headers["task"] == GENERATE_TASK else ""
    except (ValueError, TypeError, KeyError, RecursionError, InvalidJob):
        return ""
