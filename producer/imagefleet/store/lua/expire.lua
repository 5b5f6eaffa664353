-- End a queued job whose deadline has passed.
--
-- A running job is looked at again later: if its worker dies, the job is queued once more.
--
-- LIB end_waiting
-- KEYS
--   record          hash: the record of the job
--   deadlines       sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
-- ARGV
--   job_id
--   groups          prefix of the names of groups
--   result          the result with which the job ends, as JSON
--   ttl_s           seconds that the record of the ended job is kept
--   channel, event  where the end is published, and as what
--   outgoing...     pairs of a list and a message that is pushed at the end
--
-- Reply: 'expired', 'running' (its worker ends it), 'queued' (the deadline is in the future by the clock of Redis), the
-- status with which the job had ended, or 'unknown'.
local seen = redis.call('HMGET', record, 'status', 'deadline')
local status, deadline = seen[1], seen[2]
if status ~= 'queued' and status ~= 'running' then
  redis.call('ZREM', deadlines, job_id)
  return status or 'unknown'
end
if not deadline or tonumber(deadline) > now then return 'queued' end
if status == 'running' then
  redis.call('ZADD', deadlines, 'XX', now + 5, job_id)
  return status
end
return end_waiting('expired')
