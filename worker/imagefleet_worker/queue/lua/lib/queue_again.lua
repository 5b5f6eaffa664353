-- `queue_again(m, records)` marks the job of a decoded message as queued, because its message waits again: so a cancel
-- or a deadline ends it at once.
--
-- The record of a job that no client has submitted stays as it is, because it does not have the job's webhook.
local function queue_again(m, records)
  local id = m and m.headers.id
  local seen = type(id) == 'string' and redis.pcall('HMGET', records .. id, 'status', 'queued_at')
  if seen and seen[1] == 'running' and seen[2] then
    redis.call('HSET', records .. id, 'status', 'queued')
    redis.call('HDEL', records .. id, 'progress')
  end
end
