-- `begin_attempt(record, worker, ttl_s)` marks a job as running, and returns the number of the attempt, from 1.
--
-- LIB now
local function begin_attempt(record, worker, ttl_s)
  redis.call('HDEL', record, 'progress', 'message')
  local attempts = redis.call('HINCRBY', record, 'attempts', 1)
  redis.call('HSET', record, 'status', 'running', 'worker', worker, 'started_at', string.format('%.6f', now))
  redis.call('EXPIRE', record, ttl_s)
  return attempts
end
