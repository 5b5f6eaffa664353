"""The overview: how much waits in a queue and for how long, without changing anything."""

from typing import Any, Final, NamedTuple

from imagefleet.queues import Keys
from imagefleet.records import Command

# KEYS: the queue's lists. ARGV: prefix of record keys. Jobs are pushed on the left: the oldest of a list is the last.
_WAITING: Final = """
local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
local waiting, oldest = 0, nil
for i = 1, #KEYS do
  waiting = waiting + redis.call('LLEN', KEYS[i])
  local message = redis.call('LINDEX', KEYS[i], -1)
  local is_json, parts = pcall(cjson.decode, message or '')
  if is_json and type(parts) == 'table' and type(parts.headers) == 'table' and type(parts.headers.id) == 'string' then
    local at = redis.pcall('HGET', ARGV[1] .. parts.headers.id, 'queued_at')
    at = type(at) == 'string' and tonumber(at)
    if at and (not oldest or at < oldest) then oldest = at end
  end
end
return {waiting, oldest and string.format('%.3f', math.max(now - oldest, 0)) or ''}
"""


class Waiting(NamedTuple):
    """What waits in one queue."""

    #: Messages in all lists of the queue.
    depth: int
    #: Age of the oldest in seconds; None where nothing waits, or nothing whose submit is on record.
    oldest_s: float | None


def waiting(keys: Keys, queue: str) -> Command:
    """Look at *queue*; `read_waiting` makes sense of the reply. The cost does not depend on the queue's length."""
    lists = keys.lists(queue)
    return ("EVAL", _WAITING, len(lists), *lists, keys.job(""))


def read_waiting(reply: Any) -> Waiting:
    """What the reply to `waiting` says."""
    depth, age = reply
    return Waiting(int(depth), float(age) if age else None)


def dead_letters(keys: Keys) -> Command:
    """Replies the number of dead letters."""
    return ("HLEN", keys.dead)
