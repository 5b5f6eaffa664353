-- End a queued job, or ask the worker of a running one to stop.
--
-- The record of a job that ends so is kept longer than its message, which stays in its list: the record is what keeps a
-- claim from running the message. So the cost does not depend on the length of the queue.
--
-- LIB end_waiting
-- KEYS
--   record          hash: the record of the job
--   deadlines       sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
-- ARGV
--   job_id
--   groups          prefix of the names of groups
--   result          the result with which a queued job ends, as JSON
--   ttl_s           seconds that the record of the ended job is kept
--   channel, event  where the end of a queued job is published, and as what
--   control         channel: ids of running jobs that were canceled
--   outgoing...     pairs of a list and a message that is pushed at the end of a queued job
--
-- Reply: 'canceled', 'running' (the worker is asked to stop), the status with which the job had ended, or 'unknown'.
local status = redis.call('HGET', record, 'status')
if not status then return 'unknown' end
if status == 'running' then
  redis.call('HSET', record, 'cancel', '1')
  redis.call('PUBLISH', control, job_id)
  return 'running'
end
if status ~= 'queued' then return status end
return end_waiting('canceled')
