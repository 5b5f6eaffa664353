"""Claims: every change of who holds a message, each one script, so that a message is never nowhere and never twice.

As in `imagefleet.records`, each function returns a command. A claim is a token in four places: a lease (when it runs
out, by the clock of Redis), the message as it lay in the list, the list, and the process that owns it. Every script
that ends or renews a claim does nothing where the owner is another one by now.

Scripts that write begin with a removal: a Redis whose memory is full refuses a script at its first write if that could
grow, and lets it finish once it has written. So a full Redis stops producers, not the workers that would empty it.
"""

from collections.abc import Sequence
from typing import Final

from imagefleet.lanes import LANES
from imagefleet.queues import Keys
from imagefleet.records import Command
from imagefleet_worker.rotation import CLAIM

#: Canceled messages that one claim may drop on its way to a live one.
_MOST_DROPPED: Final = 1000
_AT_ONCE: Final = 100
#: How long the record of a canceled job stays once its message is gone.
DEFAULT_ENDED_TTL_S: Final = 21_600

_NOW = "local t = redis.call('TIME'); local now = tonumber(t[1]) + tonumber(t[2]) / 1e6\n"
_HELD = "local function held(token, owner) return redis.call('HGET', KEYS[3], token) == owner end\n"
_FORGET = """
local function forget(token)
  redis.call('ZREM', KEYS[1], token); redis.call('HDEL', KEYS[2], token)
  redis.call('HDEL', KEYS[3], token); redis.call('HDEL', KEYS[4], token)
  local tenant = redis.call('HGET', KEYS[5], token)
  if tenant then
    redis.call('HDEL', KEYS[5], token)
    if redis.call('HINCRBY', KEYS[6], tenant, -1) <= 0 then redis.call('HDEL', KEYS[6], tenant) end
  end
end
"""

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
    _NOW
    + _HELD
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
_ACKNOWLEDGE = _HELD + _FORGET + "if not held(ARGV[1], ARGV[2]) then return 0 end forget(ARGV[1]) return 1"

# ARGV: token, owner, message to put back (empty: as it was), prefix of records.
_GIVE_BACK = (
    LANES
    + _HELD
    + _FORGET
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
    _NOW
    + LANES
    + _HELD
    + _FORGET
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
    _NOW
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
    _NOW
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
) -> Command:
    """Take the most urgent, then oldest message of *queues*.

    Replies `[list, message, more]`, or nil; list and message empty: ask again; *more* is 0 where nothing else waits.

    Sent again with the same *token* it replies the same: a reply may be lost, a message never.
    """
    by_level = zip(*(keys.lists(queue) for queue in queues), strict=True)
    lists = [each for level in by_level for each in level]
    all_keys = (*_of_a_claim(keys), *lists)
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
    )


def renew(keys: Keys, *, owner: str, duration_s: float, jobs_by_token: dict[str, str]) -> Command:
    """Renew leases. Replies `[tokens that are another's by now, ids of held jobs that somebody canceled]`."""
    flat = (each for pair in jobs_by_token.items() for each in pair)
    return ("EVAL", _RENEW, 6, *_of_a_claim(keys), owner, duration_s, keys.job(""), *flat)


def acknowledge(keys: Keys, *, token: str, owner: str) -> Command:
    """End a claim and its message. Replies 1, or 0 where it is another's by now."""
    return ("EVAL", _ACKNOWLEDGE, 6, *_of_a_claim(keys), token, owner)


def give_back(keys: Keys, *, token: str, owner: str, message: str = "") -> Command:
    """End a claim and put its message, or *message* in its place, first in its list. Replies 1, or 0 as above."""
    return ("EVAL", _GIVE_BACK, 6, *_of_a_claim(keys), token, owner, message, keys.job(""))


def postpone(keys: Keys, *, token: str, owner: str, due_in_s: float, message: str = "") -> Command:
    """End a claim and let its message, or *message* in its place, wait outside of the list. Replies as above."""
    return ("EVAL", _POSTPONE, 7, *_of_a_claim(keys), keys.delayed, token, owner, message, due_in_s, keys.job(""))


def take_over(keys: Keys, *, owner: str, duration_s: float) -> Command:
    """Become the owner of claims whose lease has run out. Replies `[token, message, token, message, ...]`."""
    return ("EVAL", _TAKE_OVER, 6, *_of_a_claim(keys), owner, duration_s, _AT_ONCE)


def promote(keys: Keys) -> Command:
    """Put messages that are due into their lists. Replies how many."""
    return ("EVAL", _PROMOTE, 1, keys.delayed, _AT_ONCE)


def _of_a_claim(keys: Keys) -> tuple[str, ...]:
    return keys.leases, keys.claims, keys.owners, keys.origins, keys.tenants, keys.tenants_running
