"""Dead letters: messages that will not be run any more, kept with the reason, to be looked at and replayed.

As in `imagefleet.records`, each function returns a command.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imagefleet.queues import DELIVER_TASK, REDELIVERIES_HEADER, Keys
from imagefleet.records import Command

_NOW: Final = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"

# KEYS: dead, index. ARGV: id, letter, most, time to live.
_ADD = (
    _NOW
    + """
redis.call('ZREM', KEYS[2], ARGV[1])  -- a full Redis refuses a script only at its first write, if that could grow
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
local function drop(ids)
  for _, id in ipairs(ids) do redis.call('HDEL', KEYS[1], id); redis.call('ZREM', KEYS[2], id) end
end
drop(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[4])))
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if over > 0 then drop(redis.call('ZRANGE', KEYS[2], 0, over - 1)) end
return redis.call('ZCARD', KEYS[2])
"""
)

# KEYS: dead, index, list, record. ARGV: id, message, whether the record makes way.
_REPLAY = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[3] == '1' then redis.call('DEL', KEYS[4]) end
redis.call('LPUSH', KEYS[3], ARGV[2])
return 1
"""

# KEYS: dead, index. ARGV: ids; without any, all.
_PURGE = """
if #ARGV == 0 then
  local count = redis.call('ZCARD', KEYS[2])
  redis.call('DEL', KEYS[1], KEYS[2])
  return count
end
local count = 0
for _, id in ipairs(ARGV) do
  count = count + redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return count
"""

# KEYS: dead, index. ARGV: how many.
_NEWEST = """
local letters = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)) do
  letters[#letters + 1] = redis.call('HGET', KEYS[1], id)
end
return letters
"""


class DeadLetter(BaseModel):
    """A message that will not be run any more."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Its own id, for show, replay and purge."""
    job_id: str | None = None
    """The job's id, where the message has one."""
    task: str | None = None
    """The task, where the message names one."""
    reason: str
    """A code, such as `poisoned` or `malformed`."""
    message: str
    """A sentence for a person."""
    attempts: int = 0
    """How often it was tried."""
    worker: str | None = None
    """The worker that put it here."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """When, by that worker's clock."""
    list_key: str
    """The list that it was taken from."""
    original: str
    """The message as it lay there."""


def add(keys: Keys, letter: DeadLetter, *, most: int, ttl_s: int) -> Command:
    """Put *letter* there; those older than *ttl_s* and the oldest above *most* make way. Replies how many are left."""
    return ("EVAL", _ADD, 2, keys.dead, keys.dead_index, letter.id, letter.model_dump_json(), most, ttl_s)


def newest(keys: Keys, count: int) -> Command:
    """The newest *count* letters as JSON, newest first."""
    return ("EVAL", _NEWEST, 2, keys.dead, keys.dead_index, count)


def read(keys: Keys, letter_id: str) -> Command:
    """One letter as JSON, or nil."""
    return ("HGET", keys.dead, letter_id)


def replay(keys: Keys, letter: DeadLetter) -> Command:
    """Put the message back as new: neither its redeliveries nor its record count. Replies 1, or 0: not there."""
    all_keys = (keys.dead, keys.dead_index, letter.list_key, keys.job(letter.job_id or ""))
    return ("EVAL", _REPLAY, 4, *all_keys, letter.id, _as_new(letter.original), "1" if letter.job_id else "0")


def purge(keys: Keys, *letter_ids: str) -> Command:
    """Remove letters, all where none is named. Replies how many."""
    return ("EVAL", _PURGE, 2, keys.dead, keys.dead_index, *letter_ids)


def _as_new(message: str) -> str:
    try:
        envelope = json.loads(message)
        envelope["headers"].pop(REDELIVERIES_HEADER, None)
        if envelope["headers"].get("task") == DELIVER_TASK:
            envelope["body"] = _delivery_as_new(envelope["body"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return message
    return json.dumps(envelope)


def _delivery_as_new(body: str) -> str:
    """A delivery gets all its tries again, and the first at once; its event and id are the same."""
    args, kwargs, embed = json.loads(body)
    kwargs["delivery"] |= {"attempt": 1, "first_at": None, "last_error": None, "replayed": True}
    return json.dumps([args, kwargs, embed])
