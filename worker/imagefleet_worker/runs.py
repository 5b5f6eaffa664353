"""Runs: what a worker does to a job's record, from the begin of a run to its end, each change one script.

As in `imagefleet.records`, each function returns a command. A job that a client has queued begins as it is claimed, in
the claim's own script (`rotation`), and its claim ends with it where Celery has nobody to tell of the end; so besides
progress, most jobs need two scripts. `start` is for the others: what was never queued by a client, and what somebody
canceled.
"""

from collections.abc import Iterable
from typing import Final

from imagefleet.queues import Keys
from imagefleet.records import LEAVE, NOW, PENDING_TTL_S, Claim, Command, Outgoing
from imagefleet_worker.holding import FORGET, HELD, of_a_claim

#: Marks the record of a job as running, and gives the number of the attempt.
BEGIN: Final = """
local function begin(record, worker, ttl)
  redis.call('HDEL', record, 'progress')
  local attempts = redis.call('HINCRBY', record, 'attempts', 1)
  redis.call('HSET', record, 'status', 'running', 'worker', worker, 'started_at', string.format('%.6f', now))
  redis.call('EXPIRE', record, ttl)
  return attempts
end
"""

# KEYS: record, owners. ARGV: token, owner, worker, model, time to live.
_START = (
    NOW
    + BEGIN
    + """
if ARGV[1] ~= '' and redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return {'lost'} end
local seen = redis.call('HMGET', KEYS[1], 'status', 'cancel', 'queued_at')
if seen[1] and seen[1] ~= 'queued' and seen[1] ~= 'running' then return {'ended', seen[1]} end
local attempts = begin(KEYS[1], ARGV[3], ARGV[5])
redis.call('HSET', KEYS[1], 'model', ARGV[4])
local queued = seen[3] and string.format('%.6f', now - tonumber(seen[3])) or '0'
return {seen[2] and 'canceled' or 'started', attempts, queued}
"""
)

# KEYS: those of a claim, record, deadlines, preview. ARGV: token, owner, status, result, time to live, channel, event,
# job id, prefix of groups, whether the claim ends with it (1 or 0), then for each message to send: list, message.
_FINISH = (
    NOW
    + HELD
    + FORGET
    + LEAVE
    + """
local status, is_last = redis.call('HGET', KEYS[7], 'status'), ARGV[10] == '1'
local has_ended = status and status ~= 'queued' and status ~= 'running'
if ARGV[1] ~= '' and not held(ARGV[1], ARGV[2]) then
  return is_last and has_ended and status or 'lost'  -- it may be sent again, and the first time have ended the claim
end
if has_ended then return status end
leave(KEYS[7], ARGV[8], ARGV[9], KEYS[8])
if is_last then forget(ARGV[1]) end
redis.call('HSET', KEYS[7], 'status', ARGV[3], 'result', ARGV[4], 'ended_at', string.format('%.6f', now))
redis.call('HDEL', KEYS[7], 'progress', 'webhook', 'metadata', 'cancel', 'place', 'ends_at')
redis.call('DEL', KEYS[9])
redis.call('EXPIRE', KEYS[7], ARGV[5])
for i = 11, #ARGV, 2 do redis.call('LPUSH', ARGV[i], ARGV[i + 1]) end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 'recorded'
"""
)


def start(keys: Keys, job_id: str, *, claim: Claim, worker: str, model: str) -> Command:
    """Mark a claimed job as running.

    Replies `[started|canceled, attempts, seconds queued]`, `[ended, status]` or, where the lease is gone, `[lost]`.
    """
    return ("EVAL", _START, 2, keys.job(job_id), keys.owners, *claim, worker, model, PENDING_TTL_S)


def finish(
    keys: Keys,
    job_id: str,
    *,
    claim: Claim,
    status: str,
    result: str,
    event: str,
    ttl_s: int,
    ends_claim: bool = False,
    outgoing: Iterable[Outgoing] = (),
) -> Command:
    """Record how a job ended, tell who listens and send *outgoing*, all in one step; with *ends_claim*, its claim ends.

    Replies `recorded`, `lost` where the lease is gone, or the status with which the job had ended already; only with
    `recorded` has the claim ended. Sent again because a reply was lost, it replies with the status.
    """
    flat = (field for message in outgoing for field in message)
    said = keys.events(job_id), event
    left = job_id, keys.group("")
    all_keys = *of_a_claim(keys), keys.job(job_id), keys.deadlines, keys.preview(job_id)
    ends = int(ends_claim and bool(claim.token))
    return ("EVAL", _FINISH, len(all_keys), *all_keys, *claim, status, result, ttl_s, *said, *left, ends, *flat)
