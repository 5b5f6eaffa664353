-- Queue jobs that have no record yet, all of them or none: push their messages and make their records.
--
-- LIB now, tenant_queues
-- KEYS
--   deadlines   sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
--   deliveries  list: webhooks to deliver
--   queues      set: names of queues
--   lists...    the lists of the queue, the most urgent first
-- ARGV
--   max_queued  number of jobs that may wait in the queue; 0: any number
--   ttl_s       seconds that a record of a job which does not end is kept
--   records     prefix of the names of records
--   groups      prefix of the names of groups
--   model       alias of the model
--   queue       name of the queue
--   jobs...     for each job ten values: id, number of its list (from 1), message, webhook, metadata, group, deadline,
--               message that delivers its `job.queued`, tenant, fingerprint; empty where it has none
--
-- Reply: {'queued' or 'full', number of jobs that waited before}; they are counted only if max_queued is not 0. If
-- another job, or a key of another type, has the id of one: {'taken', number of jobs that waited before, id...}.
local waiting, fresh, seen, taken, pushed, number = 0, 0, {}, {}, {}, {}
local most = tonumber(max_queued)
if most > 0 then for _, list in ipairs(lists) do waiting = waiting + length(list) end end
for i = 1, #jobs, 10 do
  local id, level, tenant, fingerprint = jobs[i], jobs[i + 1], jobs[i + 8], jobs[i + 9]
  local record = redis.pcall('HMGET', records .. id, 'status', 'fingerprint')
  local known = seen[id] or record[2]
  if record.err or (known and known ~= fingerprint) then  -- an error: a key of another type
    taken[#taken + 1] = id
  elseif not seen[id] and not record[1] then
    seen[id] = fingerprint
    fresh = fresh + 1
    if tenant == '' then pushed[level] = (pushed[level] or 0) + 1 end
  end
end
if #taken > 0 then return {'taken', waiting, unpack(taken)} end
if most > 0 and waiting + fresh > most then return {'full', waiting} end

redis.call('SADD', queues, queue)  -- so that it is seen before any worker consumes it
for level, count in pairs(pushed) do
  number[level] = redis.call('INCRBY', lists[tonumber(level)] .. ':number', count) - count
end

-- Pushes a message, and returns its place as the record keeps it: level/number, or level/token/tenant.
local function line_up(level, message, tenant)
  local list = lists[tonumber(level)]
  if tenant ~= '' then return level .. '/' .. put('LPUSH', list, message, tenant) .. '/' .. tenant end
  put('LPUSH', list, message)
  number[level] = number[level] + 1
  return level .. '/' .. number[level]
end

for i = 1, #jobs, 10 do
  local id, level, message, webhook, metadata, group, deadline, delivery, tenant, fingerprint = unpack(jobs, i, i + 9)
  local record = records .. id
  if redis.call('EXISTS', record) == 0 then
    redis.call('HSET', record, 'status', 'queued', 'model', model, 'queued_at', string.format('%.6f', now),
      'place', line_up(level, message, tenant), 'fingerprint', fingerprint)
    if webhook ~= '' then redis.call('HSET', record, 'webhook', webhook) end
    if metadata ~= '' then redis.call('HSET', record, 'metadata', metadata) end
    if group ~= '' then
      redis.call('HSET', record, 'group', group)
      redis.call('SADD', groups .. group, id)
      redis.call('EXPIRE', groups .. group, ttl_s)
    end
    if deadline ~= '' then
      redis.call('HSET', record, 'deadline', deadline)
      redis.call('ZADD', deadlines, deadline, id)
    end
    redis.call('EXPIRE', record, ttl_s)
    if delivery ~= '' then redis.call('LPUSH', deliveries, delivery) end
  end
end
return {'queued', waiting}
