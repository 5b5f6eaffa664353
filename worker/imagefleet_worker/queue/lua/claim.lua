-- Take the next message: from the most urgent list that has one, and within a list from each tenant in turn.
-- If a client has queued its job, the job begins in the same step. A message whose time (`eta`) has not come is not
-- taken: it waits outside of its list. A message whose job has ended while it waited is dropped, unless a Celery app
-- waits for its result.
--
-- The cost does not grow with the number of messages or tenants: the script looks at one lane, and at those that it
-- passes over because they are empty (each leaves the rotation then) or because enough of the tenant's jobs run (there
-- are never more of these lanes than running jobs).
--
-- Sent again with the same token, because the reply was lost, it replies the same message once more.
--
-- LIB now, tenant_queues, begin_attempt, moment, delay
-- KEYS
--   leases           sorted set: claim token, scored with the time at which its lease runs out
--   claims           hash: claim token to the message
--   owners           hash: claim token to the id of the process that holds it
--   origins          hash: claim token to the list that the message was taken from
--   tenants          hash: claim token to `<queue> <tenant>`, if the message has a tenant
--   tenants_running  hash: `<queue> <tenant>` to the number of claims
--   delayed          sorted set: JSON [list, message], scored with the time at which it is due
--   lists...         of all queues, the most urgent first
-- ARGV
--   token            of the new claim
--   owner            id of the process that claims
--   duration_s       seconds until the lease runs out
--   records          prefix of the names of records
--   most_dropped     number of messages that one call may drop or let wait
--   dropped_ttl_s    seconds that the record of a dropped message is kept
--   tenant_jobs      number of jobs of one tenant that may run in one queue; 0: any number
--   worker           name of the worker for the records of jobs that begin; empty: none begins
--   record_ttl_s     seconds that the record of a job that has not ended is kept
--   job_task         name of the task that runs a job
--
-- Reply, one of:
--   nil                       nothing waits
--   {'', '', 0}               all that waits is of tenants with enough running jobs
--   {'', '', 1}               ask again: the call has dropped or let wait enough messages
--   {list, message, more}     the claim; more is 1 if another message waits, else 0
--   {..., attempts, queued_s} the same, and its job has begun: number of the attempt, seconds that the job was queued
local before = redis.call('HGET', owners, token)
if before == owner then return {redis.call('HGET', origins, token), redis.call('HGET', claims, token), 1} end
if before then return {'', '', 1} end

local dropped, most, cap, is_capped = 0, tonumber(most_dropped), tonumber(tenant_jobs), false

-- The oldest message of a lane; '' if it is there no more (a message that was pushed twice has two tokens in the lane
-- and is there once); false if the lane is empty.
local function pop(list, tenant)
  if tenant == '' then return redis.call('RPOP', list) end
  local entry = redis.call('RPOP', list .. ':tenant:' .. tenant)
  if not entry then return false end
  local message = redis.call('ZRANGEBYSCORE', list .. ':tenants', entry, entry)[1]
  if message then redis.call('ZREM', list .. ':tenants', message) end
  return message or ''
end

-- The next message of a lane that is to run, and its record if a client has queued it; nil if there is none.
local function next_of(list, tenant)
  while dropped < most do
    local message = pop(list, tenant)
    if not message then return nil end
    local m = decoded(message)
    local id, own = m and m.headers.id, tenant_of(m)
    -- A key of another type under the record's name counts as no record; the end of the attempt tells what it is.
    local seen = type(id) == 'string' and redis.pcall('HMGET', records .. id, 'status', 'fingerprint') or {}
    -- Of another job with the same id the worker finds out: only it can work out the fingerprint of a foreign message.
    local status = (not seen[2] or seen[2] == m.headers['x-fingerprint']) and seen[1]
    local due = m and type(m.headers.eta) == 'string' and moment(m.headers.eta)
    local has_ended = status == 'canceled' or status == 'expired'
    if has_ended then redis.call('EXPIRE', records .. id, dropped_ttl_s) end
    if has_ended and m.headers.ignore_result == true then
      dropped = dropped + 1
    elseif due and due > now then
      delay(list, message, m, due)
      dropped = dropped + 1
    elseif own and tenant == '' then  -- another program has pushed it on the list; it belongs in its lane
      put('LPUSH', list, message, own)
      dropped = dropped + 5
    elseif tenant == '' or message ~= '' then
      return message, status == 'queued' and records .. id or nil
    end
  end
end

-- A list is named for its queue and priority: `<queue>`, or `<queue>\6\22<priority>`.
local function running_key(list, tenant) return string.match(list, '^[^\6]*') .. ' ' .. tenant end

-- The next message of a list, its tenant or '', and its record as above; nil if there is none.
local function pick(list)
  if redis.call('EXISTS', list .. ':tenants') == 0 then
    local message, record = next_of(list, '')
    if message or redis.call('EXISTS', list .. ':tenants') == 0 then return message, '', record end
  end
  redis.call('HDEL', tenants, token)  -- a removal comes first, so that a full Redis lets the script write
  if redis.call('LLEN', list) > 0 then join(list, '') end
  local place = 0
  while dropped < most do
    local tenant = redis.call('ZRANGE', list .. ':turns', place, place)[1]
    if not tenant then return nil end
    local running = cap > 0 and tenant ~= '' and redis.call('HGET', tenants_running, running_key(list, tenant))
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
  redis.call('ZADD', leases, now + tonumber(duration_s), token)
  redis.call('HSET', claims, token, message)
  redis.call('HSET', owners, token, owner)
  redis.call('HSET', origins, token, list)
  if tenant ~= '' then
    redis.call('HSET', tenants, token, running_key(list, tenant))
    redis.call('HINCRBY', tenants_running, running_key(list, tenant), 1)
  end
end

-- The number of the attempt, and the seconds that the job was queued; nothing if `start` has to decide.
local function begun(record)
  if worker == '' or not record then return end
  local seen = redis.call('HMGET', record, 'queued_at', 'cancel')
  local queued_at, is_canceled = seen[1], seen[2]
  if not queued_at or is_canceled then return end
  return begin_attempt(record, worker, record_ttl_s), string.format('%.6f', now - tonumber(queued_at))
end

local function more_waits()
  local all = {}
  for _, list in ipairs(lists) do all[#all + 1] = list; all[#all + 1] = list .. ':tenants' end
  return redis.call('EXISTS', unpack(all))
end

for _, list in ipairs(lists) do
  local message, tenant, record = pick(list)
  if message then
    hold(list, message, tenant)
    local attempts, queued_s = begun(record)
    return {list, message, more_waits(), attempts, queued_s}
  end
  if dropped >= most then return {'', '', 1} end
end
return is_capped and {'', '', 0} or false
