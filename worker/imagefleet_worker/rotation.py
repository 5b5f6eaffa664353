"""Rotation: the script that picks the next message, by priority, then in turns over the tenants, and claims it.

A job that a client has queued begins in the same step.

Its cost does not grow with what waits, nor with the tenants: it looks at one lane, and at those that it passes over
because they are empty (each leaves the rotation by that) or because so many of the tenant's jobs run already (there are
never more of those than jobs that run).
"""

from typing import Final

from imagefleet.lanes import LANES
from imagefleet.records import NOW
from imagefleet_worker.runs import BEGIN

# KEYS: those of a claim, then the lists. ARGV: token, owner, duration, prefix of records, most dropped, time to live of
# the records of what is dropped, most jobs of a tenant (0: any number), worker that begins queued jobs (empty: none
# does), time to live of a record.
CLAIM: Final = (
    NOW
    + LANES
    + BEGIN
    + """
local before = redis.call('HGET', KEYS[3], ARGV[1])  -- sent again: the first answer was lost
if before == ARGV[2] then return {redis.call('HGET', KEYS[4], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1]), 1} end
if before then return {'', '', 1} end
local met, most, cap, is_capped = 0, tonumber(ARGV[5]), tonumber(ARGV[7]), false

local function pop(list, tenant)  -- false: nothing left; a token without a message was of one that came twice
  if tenant == '' then return redis.call('RPOP', list) end
  local token = redis.call('RPOP', list .. ':tenant:' .. tenant)
  if not token then return false end
  local message = redis.call('ZRANGEBYSCORE', list .. ':tenants', token, token)[1]
  if message then redis.call('ZREM', list .. ':tenants', message) end
  return message or ''
end

local function next_of(list, tenant)
  while met < most do
    local message = pop(list, tenant)
    if not message then return nil end
    local m = decoded(message)
    local id, own = m and m.headers.id, tenant_of(m)
    local status = type(id) == 'string' and redis.call('HGET', ARGV[4] .. id, 'status')
    if status == 'canceled' or status == 'expired' then
      redis.call('EXPIRE', ARGV[4] .. id, ARGV[6])
      met = met + 1
    elseif own and tenant == '' then  -- pushed by another program; its lane is its place
      put('LPUSH', list, message, own)
      met = met + 5
    elseif tenant == '' or message ~= '' then
      return message, status == 'queued' and ARGV[4] .. id or nil
    end
  end
end

local function running_key(list, tenant) return string.match(list, '^[^\6]*') .. ' ' .. tenant end

local function pick(list)
  if redis.call('EXISTS', list .. ':tenants') == 0 then
    local message, record = next_of(list, '')
    if message or redis.call('EXISTS', list .. ':tenants') == 0 then return message, '', record end
  end
  redis.call('HDEL', KEYS[5], ARGV[1])  -- a removal comes first
  if redis.call('LLEN', list) > 0 then join(list, '') end
  local place = 0
  while met < most do
    local tenant = redis.call('ZRANGE', list .. ':turns', place, place)[1]
    if not tenant then return nil end
    local running = cap > 0 and tenant ~= '' and redis.call('HGET', KEYS[6], running_key(list, tenant))
    if running and tonumber(running) >= cap then
      is_capped = true
      place = place + 1
    else
      local message, record = next_of(list, tenant)
      local turn = message and redis.call('INCR', list .. ':turn')
      if redis.call('EXISTS', tenant == '' and list or list .. ':tenant:' .. tenant) == 0 then
        redis.call('ZREM', list .. ':turns', tenant)
      elseif turn then
        redis.call('ZADD', list .. ':turns', turn, tenant)
      end
      if message then return message, tenant, record end
    end
  end
end

local function hold(list, message, tenant)
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], message)
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
  redis.call('HSET', KEYS[4], ARGV[1], list)
  if tenant ~= '' then
    redis.call('HSET', KEYS[5], ARGV[1], running_key(list, tenant))
    redis.call('HINCRBY', KEYS[6], running_key(list, tenant), 1)
  end
end

local function begun(record)  -- the number of the attempt, and the seconds queued; nothing where `start` has to decide
  if ARGV[8] == '' or not record then return end
  local seen = redis.call('HMGET', record, 'queued_at', 'cancel')
  if not seen[1] or seen[2] then return end
  return begin(record, ARGV[8], ARGV[9]), string.format('%.6f', now - tonumber(seen[1]))
end

local function waiting()
  local lists = {}
  for i = 7, #KEYS do lists[#lists + 1] = KEYS[i]; lists[#lists + 1] = KEYS[i] .. ':tenants' end
  return redis.call('EXISTS', unpack(lists))
end

for i = 7, #KEYS do
  local message, tenant, record = pick(KEYS[i])
  if message then
    hold(KEYS[i], message, tenant)
    local attempts, queued = begun(record)
    return {KEYS[i], message, waiting(), attempts, queued}
  end
  if met >= most then return {'', '', 1} end
end
return is_capped and {'', '', 0} or false
"""
)
