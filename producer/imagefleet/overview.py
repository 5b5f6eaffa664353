"""The overview: what waits in the queues and for how long, who works, and what was given up. It changes nothing."""

from typing import Any, Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from imagefleet.queues import Keys
from imagefleet.records import Command
from imagefleet.workers import Worker

# KEYS: the queue's lists. ARGV: prefix of record keys. Jobs are pushed on the left: the oldest of a list is the last.
_WAITING: Final = """
local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
local depths, oldest = {}, nil
local function look(message)
  local is_json, parts = pcall(cjson.decode, message or '')
  if is_json and type(parts) == 'table' and type(parts.headers) == 'table' and type(parts.headers.id) == 'string' then
    local at = redis.pcall('HGET', ARGV[1] .. parts.headers.id, 'queued_at')
    at = type(at) == 'string' and tonumber(at)
    if at and (not oldest or at < oldest) then oldest = at end
  end
end
for i = 1, #KEYS do
  local lanes = KEYS[i] .. ':tenants'
  depths[i] = redis.call('LLEN', KEYS[i]) + redis.call('ZCARD', lanes)
  look(redis.call('LINDEX', KEYS[i], -1))
  look(redis.call('ZRANGE', lanes, 0, 0)[1])
end
return {depths, oldest and string.format('%.3f', math.max(now - oldest, 0)) or ''}
"""


class Waiting(NamedTuple):
    """What waits in one queue."""

    #: Messages in each list of the queue, the most urgent first.
    levels: tuple[int, ...]
    #: Age of the oldest in seconds; None where nothing waits, or nothing whose submit is on record.
    oldest_s: float | None

    @property
    def depth(self) -> int:
        """Messages in all lists of the queue."""
        return sum(self.levels)


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Queue(_Seen):
    """One queue at one moment."""

    name: str
    """`imagefleet.<model>`, or `imagefleet.webhooks`."""
    waiting: int
    """Messages in it; jobs canceled meanwhile count until they are met."""
    by_priority: dict[str, int]
    """The same by priority, the most urgent first: 8-9, 5-7, 3-4, 1-2 and 0."""
    oldest_s: float | None
    """How long the oldest has waited, in seconds; None where nothing waits, or it is not on record."""
    running: int
    """What its workers are making now."""
    workers: int
    """How many consume it and are not silent."""


class Overview(_Seen):
    """The fleet at one moment."""

    at: AwareDatetime
    """By the clock of Redis."""
    queues: tuple[Queue, ...]
    workers: tuple[Worker, ...]
    delayed: int
    """Messages that wait for the time of their next attempt."""
    dead_letters: int
    """Messages that nobody tries any more."""

    @property
    def images_per_s(self) -> float:
        """Of all workers, in the last minute."""
        return sum(worker.images_per_s for worker in self.workers)


def waiting(keys: Keys, queue: str) -> Command:
    """Look at *queue*; `read_waiting` makes sense of the reply. The cost does not depend on the queue's length."""
    lists = keys.lists(queue)
    return ("EVAL", _WAITING, len(lists), *lists, keys.job(""))


def read_waiting(reply: Any) -> Waiting:
    """What the reply to `waiting` says."""
    levels, age = reply
    return Waiting(tuple(map(int, levels)), float(age) if age else None)


def dead_letters(keys: Keys) -> Command:
    """Replies the number of dead letters."""
    return ("HLEN", keys.dead)


def delayed(keys: Keys) -> Command:
    """Replies the number of messages that wait for a time."""
    return ("ZCARD", keys.delayed)
