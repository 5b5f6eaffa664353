"""The record of a job: the one place in Redis that knows its status, and every change that status can make.

Each function returns a command, a tuple for `redis.Redis.execute_command` (or its asyncio twin), so that the client,
its asyncio twin and the worker share one set of transitions. All are single scripts: a record never holds half a
change, and of two ends that race for a job exactly one is recorded. How a worker begins and ends a run is in
`imagefleet_worker.runs`.

Fields: status, model, queued_at, started_at, ended_at (Redis time, seconds), worker, attempts, progress (`done/total`),
cancel (`1` once somebody asked), webhook and metadata (JSON, for an end before any worker saw the job), group, deadline
(seconds), result (JSON), place (`level/number` or `level/token/tenant`: where it was put into line), ends_at (Redis
time at which its steps should be done).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from imagefleet.lanes import LANES
from imagefleet.queues import Keys

Command = tuple[str | int | float, ...]

#: A record of a job that has not ended outlives any reasonable wait, and yet not for ever.
PENDING_TTL_S: Final = 30 * 86_400

#: `now`, in seconds of the clock of Redis.
NOW: Final = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"

#: What a job that ends is taken out of; it comes first, because it makes room in a Redis that is full.
LEAVE: Final = """
local function leave(record, id, groups, deadlines)
  local group = redis.call('HGET', record, 'group')
  if group then redis.call('SREM', groups .. group, id) end
  if redis.call('HDEL', record, 'deadline') == 1 then redis.call('ZREM', deadlines, id) end
end
"""

#: The end of a job that no worker has begun. KEYS: record, deadlines. ARGV begins with result, time to live, channel,
#: event; from *first* on come the messages to send, as in FINISH.
END_WAITING: Final = (
    LEAVE
    + """
local function end_waiting(status, id, groups, first)
  leave(KEYS[1], id, groups, KEYS[2])
  redis.call('HSET', KEYS[1], 'status', status, 'result', ARGV[1], 'ended_at', string.format('%.6f', now))
  redis.call('HDEL', KEYS[1], 'webhook', 'metadata', 'place')
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  for i = first, #ARGV, 2 do redis.call('LPUSH', ARGV[i], ARGV[i + 1]) end
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  return status
end
"""
)

# KEYS: deadlines, deliveries, names of queues, then the queue's lists. ARGV: most waiting (0: no limit), time to live,
# prefix of record keys, prefix of groups, model, queue, then for each job: id, number of its list, message, webhook,
# metadata, group, deadline, delivery of its `job.queued`, tenant.
_SUBMIT = (
    NOW
    + LANES
    + """
local waiting, fresh, seen, pushed, number = 0, 0, {}, {}, {}
local most = tonumber(ARGV[1])
if most > 0 then for i = 4, #KEYS do waiting = waiting + length(KEYS[i]) end end
for i = 7, #ARGV, 9 do
  if not seen[ARGV[i]] and redis.call('EXISTS', ARGV[3] .. ARGV[i]) == 0 then
    seen[ARGV[i]] = true
    fresh = fresh + 1
    if ARGV[i + 8] == '' then pushed[ARGV[i + 1]] = (pushed[ARGV[i + 1]] or 0) + 1 end
  end
end
if most > 0 and waiting + fresh > most then return {'full', waiting} end
redis.call('SADD', KEYS[3], ARGV[6])  -- so that it is seen before any worker consumes it
for level, count in pairs(pushed) do
  number[level] = redis.call('INCRBY', KEYS[tonumber(level) + 3] .. ':number', count) - count
end
local function line_up(level, message, tenant)
  local list = KEYS[tonumber(level) + 3]
  if tenant ~= '' then return level .. '/' .. put('LPUSH', list, message, tenant) .. '/' .. tenant end
  put('LPUSH', list, message)
  number[level] = number[level] + 1
  return level .. '/' .. number[level]
end
for i = 7, #ARGV, 9 do
  local record = ARGV[3] .. ARGV[i]
  if redis.call('EXISTS', record) == 0 then
    redis.call('HSET', record, 'status', 'queued', 'model', ARGV[5], 'queued_at', string.format('%.6f', now),
      'place', line_up(ARGV[i + 1], ARGV[i + 2], ARGV[i + 8]))
    if ARGV[i + 3] ~= '' then redis.call('HSET', record, 'webhook', ARGV[i + 3]) end
    if ARGV[i + 4] ~= '' then redis.call('HSET', record, 'metadata', ARGV[i + 4]) end
    if ARGV[i + 5] ~= '' then
      redis.call('HSET', record, 'group', ARGV[i + 5])
      redis.call('SADD', ARGV[4] .. ARGV[i + 5], ARGV[i])
      redis.call('EXPIRE', ARGV[4] .. ARGV[i + 5], ARGV[2])
    end
    if ARGV[i + 6] ~= '' then
      redis.call('HSET', record, 'deadline', ARGV[i + 6])
      redis.call('ZADD', KEYS[1], ARGV[i + 6], ARGV[i])
    end
    redis.call('EXPIRE', record, ARGV[2])
    if ARGV[i + 7] ~= '' then redis.call('LPUSH', KEYS[2], ARGV[i + 7]) end
  end
end
return {'queued', waiting}
"""
)

# KEYS: record, deadlines. ARGV: result, time to live, channel, event, control channel, job id, prefix of groups, then
# messages as in FINISH.
# The record outlives the message, which still lies in its list: it is what keeps a claim from running it.
_CANCEL = (
    NOW
    + END_WAITING
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'unknown' end
if status == 'running' then
  redis.call('HSET', KEYS[1], 'cancel', '1')
  redis.call('PUBLISH', ARGV[5], ARGV[6])
  return 'running'
end
if status ~= 'queued' then return status end
return end_waiting('canceled', ARGV[6], ARGV[7], 8)
"""
)


class Submission(NamedTuple):
    """One job ready to be queued."""

    job_id: str
    #: Which of the queue's lists, counted from 1.
    level: int
    message: str
    #: JSON, or empty.
    webhook: str
    #: JSON, or empty.
    metadata: str
    #: Or empty.
    group: str
    #: Seconds since 1970, or empty.
    deadline: str
    #: The message that delivers its `job.queued`, or empty.
    delivery: str
    #: Or empty.
    tenant: str


class Outgoing(NamedTuple):
    """A message that leaves in the same step as a change of status."""

    list_key: str
    message: str


class Claim(NamedTuple):
    """What a worker shows to prove that it still holds a message; both empty where there are no leases."""

    token: str
    owner: str


def submit(keys: Keys, *, queue: str, model: str, jobs: Sequence[Submission], max_queued: int) -> Command:
    """Queue *jobs* that have no record yet, all or none.

    Replies `[queued|full, jobs waiting before]`; they are counted only where *max_queued* limits them.
    """
    lists = keys.lists(queue)
    flat = (field for job in jobs for field in job)
    prefixes = keys.job(""), keys.group("")
    all_keys = keys.deadlines, keys.deliveries, keys.queues, *lists
    return ("EVAL", _SUBMIT, len(all_keys), *all_keys, max_queued, PENDING_TTL_S, *prefixes, model, queue, *flat)


def cancel(keys: Keys, job_id: str, *, result: str, event: str, outgoing: Iterable[Outgoing] = ()) -> Command:
    """End a queued job with *result*, or ask the worker of a running one to stop.

    Replies `canceled`, `running` (asked to stop), the status with which it had ended already, or `unknown`.
    The cost does not depend on the length of the queue: the message stays where it is, and a claim drops it.
    """
    flat = (field for message in outgoing for field in message)
    said = keys.events(job_id), event
    left = job_id, keys.group("")
    all_keys = keys.job(job_id), keys.deadlines
    return ("EVAL", _CANCEL, 2, *all_keys, result, PENDING_TTL_S, *said, keys.control, *left, *flat)


def read(keys: Keys, job_id: str, *fields: str) -> Command:
    """The values of *fields*, `None` for each that is not set."""
    return ("HMGET", keys.job(job_id), *fields)
