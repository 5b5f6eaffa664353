-- `end_waiting(status)` ends a job that no worker has begun, and returns *status*.
--
-- LIB now, leave, note_webhook
-- KEYS
--   record, deadlines
-- ARGV
--   job_id, groups, result, ttl_s, channel, event
--   outgoing...
local function end_waiting(status)
  leave(record, job_id, groups, deadlines)
  redis.call('HSET', record, 'status', status, 'result', result, 'ended_at', string.format('%.6f', now))
  redis.call('HDEL', record, 'webhook', 'metadata', 'place', 'message')
  -- The record of a message that waits for a time is kept for longer.
  if redis.call('TTL', record) < tonumber(ttl_s) then redis.call('EXPIRE', record, ttl_s) end
  for i = 1, #outgoing, 2 do redis.call('LPUSH', outgoing[i], outgoing[i + 1]) end
  if #outgoing > 0 then note_webhook(record, 'job.' .. status, '{"state":"queued"}') end
  redis.call('PUBLISH', channel, event)
  return status
end
