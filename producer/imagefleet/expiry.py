"""Expiry: finds jobs past their deadlines, and ends those that no worker has begun; commands, as in `records`."""

from collections.abc import Iterable
from typing import Final

from imagefleet.queues import Keys
from imagefleet.records import END_WAITING, Command, Outgoing

_NOW: Final = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"

# KEYS: deadlines. ARGV: how many.
_OVERDUE = _NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])"

# KEYS: record, deadlines. ARGV: result, time to live, channel, event, job id, prefix of groups, then messages as in
# FINISH. A running job is looked at again later: its worker may fall silent, and then it is queued once more.
_EXPIRE = (
    _NOW
    + END_WAITING
    + """
local seen = redis.call('HMGET', KEYS[1], 'status', 'deadline')
local status = seen[1]
if status ~= 'queued' and status ~= 'running' then
  redis.call('ZREM', KEYS[2], ARGV[5])
  return status or 'unknown'
end
if not seen[2] or tonumber(seen[2]) > now then return 'queued' end
if status == 'running' then
  redis.call('ZADD', KEYS[2], 'XX', now + 5, ARGV[5])
  return status
end
return end_waiting('expired', ARGV[5], ARGV[6], 7)
"""
)


def overdue(keys: Keys, *, count: int) -> Command:
    """Ids of at most *count* jobs whose deadlines have passed and that have not ended, as far as is known."""
    return ("EVAL", _OVERDUE, 1, keys.deadlines, count)


def expire(
    keys: Keys, job_id: str, *, result: str, event: str, ttl_s: int, outgoing: Iterable[Outgoing] = ()
) -> Command:
    """End a queued job whose deadline has passed with *result*.

    Replies `expired`, `running` (its worker ends it), `queued` (not yet, by the clock of Redis), the status with which
    it had ended already, or `unknown`.
    """
    flat = (field for message in outgoing for field in message)
    said = keys.events(job_id), event
    left = job_id, keys.group("")
    return ("EVAL", _EXPIRE, 2, keys.job(job_id), keys.deadlines, result, ttl_s, *said, *left, *flat)
