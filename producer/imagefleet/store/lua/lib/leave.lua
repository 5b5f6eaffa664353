-- `leave(record, job_id, groups, deadlines)` takes a job that ends out of its group and out of the deadlines.
--
-- A script calls it before it writes, because it only removes: a Redis whose memory is full refuses a script at its
-- first write if that could grow, and lets it finish once it has written.
local function leave(record, job_id, groups, deadlines)
  local group = redis.call('HGET', record, 'group')
  if group then redis.call('SREM', groups .. group, job_id) end
  if redis.call('HDEL', record, 'deadline') == 1 then redis.call('ZREM', deadlines, job_id) end
end
