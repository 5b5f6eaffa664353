"""Notes: what a worker writes into the record of a running job; nothing of it changes the job's status."""

from typing import Final

from imagefleet.queues import Keys
from imagefleet.records import PENDING_TTL_S, Command

_PREVIEW_TTL_S: Final = 10

# KEYS: record, group. ARGV: job id, group, time to live.
_ENLIST = """
if redis.call('HGET', KEYS[1], 'status') ~= 'running' or redis.call('HEXISTS', KEYS[1], 'group') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'group', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# KEYS: record, preview. ARGV: done/total, channel, event, preview (empty: as before), its time to live, seconds left
# (empty: not known).
_PROGRESS = """
if redis.call('HGET', KEYS[1], 'status') ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'progress', ARGV[1])
if ARGV[6] == '' then
  redis.call('HDEL', KEYS[1], 'ends_at')
else
  local t = redis.call('TIME')
  local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
  redis.call('HSET', KEYS[1], 'ends_at', string.format('%.3f', now + tonumber(ARGV[6])))
end
if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4]) end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return redis.call('HEXISTS', KEYS[1], 'cancel')
"""


def enlist(keys: Keys, job_id: str, *, group: str) -> Command:
    """Put a claimed job into its *group*, where no client has. Replies 1, or 0: it is there, or has ended."""
    return ("EVAL", _ENLIST, 2, keys.job(job_id), keys.group(group), job_id, group, PENDING_TTL_S)


def progress(
    keys: Keys, job_id: str, *, done: int, total: int, event: str, preview: str = "", left_s: float | None = None
) -> Command:
    """Note how far a running job is, keep its *preview* (JSON), and tell who listens.

    Replies 1 where somebody has canceled it, else 0.

    *left_s* is how long the rest of its steps should take; it is kept as a time of Redis's clock.
    """
    said = f"{done}/{total}", keys.events(job_id), event
    left = "" if left_s is None else left_s
    return ("EVAL", _PROGRESS, 2, keys.job(job_id), keys.preview(job_id), *said, preview, _PREVIEW_TTL_S, left)
