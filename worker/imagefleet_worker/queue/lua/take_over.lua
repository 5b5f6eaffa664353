-- Become the holder of claims whose leases have run out.
--
-- It begins with a removal: a Redis whose memory is full refuses a script only at its first write, if that could grow.
--
-- LIB now, tenant_queues
-- KEYS
--   leases      sorted set: claim token, scored with the time at which its lease runs out
--   claims      hash: claim token to the message
--   owners      hash: claim token to the id of the process that holds it
-- ARGV
--   owner       id of the process that takes over
--   duration_s  seconds until the new leases run out
--   count       the largest number of claims to take over
--   on_device   prefix of the names of hashes, one for each process: claim token to a note of `enter_device`, for the
--               jobs on its device; and `end` to how the process ended, if it could tell
--   records     prefix of the names of records
--
-- Reply: {token, message, loss, token, message, loss, ...}. A loss is empty if the job was not on a device, else a JSON
-- object: the note, and
--   at     when the loss was noticed
--   jobs   number of jobs that were on the device
--   steps  steps done and in all, such as 3/20, if the job has reported them
--   ended  how the process ended, if it could tell
local function loss_of(token, message, holder)
  local notes = on_device .. holder
  local note = redis.call('HGET', notes, token)
  if not note then return '' end
  -- The process's other claims may run out later: they are counted for these, too.
  redis.call('EXPIRE', notes, math.ceil(2 * tonumber(duration_s)))
  local loss, m = cjson.decode(note), decoded(message)
  loss.at = now
  loss.jobs = redis.call('HLEN', notes) - redis.call('HEXISTS', notes, 'end')
  local steps = m and type(m.headers.id) == 'string' and redis.pcall('HGET', records .. m.headers.id, 'progress')
  loss.steps = type(steps) == 'string' and steps or ''
  loss.ended = redis.call('HGET', notes, 'end') or ''
  return cjson.encode(loss)
end

local found = {}
for _, token in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, count)) do
  local holder = redis.call('HGET', owners, token) or ''
  redis.call('ZREM', leases, token)
  redis.call('ZADD', leases, now + tonumber(duration_s), token)
  redis.call('HSET', owners, token, owner)
  local message = redis.call('HGET', claims, token) or ''
  found[#found + 1] = token
  found[#found + 1] = message
  found[#found + 1] = loss_of(token, message, holder)
end
return found
