"""Claims: every change of who holds a message, each one script, so that a message is never nowhere and never twice.

As in `imagefleet.records`, each function returns a command; what a claim is, `holding` says. Every script that ends or
renews a claim does nothing where the owner is another one by now.

Scripts that write begin with a removal: a Redis whose memory is full refuses a script at its first write if that could
grow, and lets it finish once it has written. So a full Redis stops producers, not the workers that would empty it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from imagefleet.lanes import LANES
from imagefleet.queues import Keys
from imagefleet.records import NOW, PENDING_TTL_S, Command
from imagefleet_worker.holding import FORGET, HELD, of_a_claim
from imagefleet_worker.rotation import CLAIM

#: Canceled messages that one claim may drop on its way to a live one.
_MOST_DROPPED: Final = 1000
_AT_ONCE: Final = 100
#: How long the record of a canceled job stays once its message is gone.
DEFAULT_ENDED_TTL_S: Final = 21_600


class Begun(NamedTuple):
    """A job that runs since it was claimed."""

    attempts: int
    queued_s: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is this process's now."""

    token: str
    list_key: str
    message: str
    #: Whether another claim may find something.
    is_more: bool = True
    #: None for what begins later, or is no job.
    begun: Begun | None = None


# A job whose message waits again is queued again: a cancel or a deadline ends it at once. One that no client submitted
# stays as it is, because the record does not know its webhook.
_WAITS = """
local function waits(m, records)
  local id = m and m.headers.id
  local seen = type(id) == 'string' and redis.call('HMGET', records .. id, 'status', 'queued_at')
  if seen and seen[1] == 'running' and seen[2] then
    redis.call('HSET', records .. id, 'status', 'queued')
    redis.call('HDEL', records .. id, 'progress')
  end
end
"""

# ARGV: owner, duration, prefix of records, then for each claim: token, job id.
_RENEW = (
    NOW
    + HELD
    + """
local lost, canceled = {}, {}
for i = 4, #ARGV, 2 do
  if held(ARGV[i], ARGV[1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[i])
    if ARGV[i + 1] ~= '' and redis.call('HGET', ARGV[3] .. ARGV[i + 1], 'cancel') then
      canceled[#canceled + 1] = ARGV[i + 1]
    end
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return {lost, canceled}
"""
)

# ARGV: token, owner.
_ACKNOWLEDGE = HELD + FORGET + "if not held(ARGV[1], ARGV[2]) then return 0 end forget(ARGV[1]) return 1"

# ARGV: token, owner, message to put back (empty: as it was), prefix of records.
_GIVE_BACK = (
    LANES
    + HELD
    + FORGET
    + _WAITS
    + """
if not held(ARGV[1], ARGV[2]) then return 0 end
local message = ARGV[3] ~= '' and ARGV[3] or redis.call('HGET', KEYS[2], ARGV[1])
local list = redis.call('HGET', KEYS[4], ARGV[1])
forget(ARGV[1])
if message and list then
  local m = decoded(message)
  put('RPUSH', list, message, tenant_of(m))
  waits(m, ARGV[4])
end
return 1
"""
)

# KEYS[7]: delayed. ARGV: token, owner, message to put in its place (empty: as it is), seconds, prefix of records.
_POSTPONE = (
    NOW
    + LANES
    + HELD
    + FORGET
    + _WAITS
    + """
if not held(ARGV[1], ARGV[2]) then return 0 end
local message = ARGV[3] ~= '' and ARGV[3] or redis.call('HGET', KEYS[2], ARGV[1])
local list = redis.call('HGET', KEYS[4], ARGV[1])
forget(ARGV[1])
if message and list then
  redis.call('ZADD', KEYS[7], now + tonumber(ARGV[4]), cjson.encode({list, message}))
  waits(decoded(message), ARGV[5])
end
return 1
"""
)

# ARGV: owner, duration, how many.
_TAKE_OVER = (
    NOW
    + """
local found = {}
for _, token in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  redis.call('ZREM', KEYS[1], token)
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), token)
  redis.call('HSET', KEYS[3], token, ARGV[1])
  found[#found + 1] = token
  found[#found + 1] = redis.call('HGET', KEYS[2], token) or ''
end
return found
"""
)

# KEYS: delayed. ARGV: how many.
_PROMOTE = (
    NOW
    + LANES
    + """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, entry in ipairs(due) do
  local pair = cjson.decode(entry)
  redis.call('ZREM', KEYS[1], entry)
  put('LPUSH', pair[1], pair[2], tenant_of(decoded(pair[2])))
end
return #due
"""
)


def claim(
    keys: Keys,
    *,
    queues: Sequence[str],
    token: str,
    owner: str,
    duration_s: float,
    ended_ttl_s: int = DEFAULT_ENDED_TTL_S,
    tenant_jobs: int = 0,
    worker: str = "",
) -> Command:
    """Take the most urgent, then oldest message of *queues*; where it is a client's job, it begins to run on *worker*.

    Replies `[list, message, more]`, or nil; list and message empty: ask again; *more* is 0 where nothing else waits.
    For a job that has begun come also the number of the attempt and the seconds that it was queued.

    Sent again with the same *token* it replies the same: a reply may be lost, a message never.
    """
    by_level = zip(*(keys.lists(queue) for queue in queues), strict=True)
    lists = [each for level in by_level for each in level]
    all_keys = (*of_a_claim(keys), *lists)
    return (
        "EVAL",
        CLAIM,
        len(all_keys),
        *all_keys,
        token,
        owner,
        duration_s,
        keys.job(""),
        _MOST_DROPPED,
        ended_ttl_s,
        tenant_jobs,
        worker,
        PENDING_TTL_S,
    )


def read(token: str, reply: Sequence[Any]) -> Claimed:
    """What a claim of *token* has got: the reply of `claim`, where it names a list."""
    list_key, message, is_more, *run = reply
    begun = Begun(int(run[0]), max(float(run[1]), 0.0)) if run else None
    return Claimed(token, list_key, message, is_more=bool(is_more), begun=begun)


def renew(keys: Keys, *, owner: str, duration_s: float, jobs_by_token: dict[str, str]) -> Command:
    """Renew leases. Replies `[tokens that are another's by now, ids of held jobs that somebody canceled]`."""
    flat = (each for pair in jobs_by_token.items() for each in pair)
    return ("EVAL", _RENEW, 6, *of_a_claim(keys), owner, duration_s, keys.job(""), *flat)


def acknowledge(keys: Keys, *, token: str, owner: str) -> Command:
    """End a claim and its message. Replies 1, or 0 where it is another's by now."""
    return ("EVAL", _ACKNOWLEDGE, 6, *of_a_claim(keys), token, owner)


def give_back(keys: Keys, *, token: str, owner: str, message: str = "") -> Command:
    """End a claim and put its message, or *message* in its place, first in its list. Replies 1, or 0 as above."""
    return ("EVAL", _GIVE_BACK, 6, *of_a_claim(keys), token, owner, message, keys.job(""))


def postpone(keys: Keys, *, token: str, owner: str, due_in_s: float, message: str = "") -> Command:
    """End a claim and let its message, or *message* in its place, wait outside of the list. Replies as above."""
    return ("EVAL", _POSTPONE, 7, *of_a_claim(keys), keys.delayed, token, owner, message, due_in_s, keys.job(""))


def take_over(keys: Keys, *, owner: str, duration_s: float) -> Command:
    """Become the owner of claims whose lease has run out. Replies `[token, message, token, message, ...]`."""
    return ("EVAL", _TAKE_OVER, 6, *of_a_claim(keys), owner, duration_s, _AT_ONCE)


def promote(keys: Keys) -> Command:
    """Put messages that are due into their lists. Replies how many."""
    return ("EVAL", _PROMOTE, 1, keys.delayed, _AT_ONCE)
