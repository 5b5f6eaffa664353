-- Remove a message that waits, and end its job if no worker has begun it. A job without a record gets one.
--
-- LIB end_waiting
-- KEYS
--   list            list: messages of a queue
--   lanes           sorted set: messages of tenants beside that list, scored with their tokens
--   delayed         sorted set: JSON [list, message], scored with the time at which it is due
--   record          hash: the record of the job
--   deadlines       sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
-- ARGV
--   place           where the message lies: list, lanes or delayed
--   entry           what lies there
--   job_id          or empty: it is no job
--   groups          prefix of the names of groups
--   result          the result with which a queued job ends, as JSON
--   ttl_s           seconds that the record of the ended job is kept
--   channel, event  where the end of a queued job is published, and as what
--   outgoing...     pairs of a list and a message that is pushed at the end of a queued job
--
-- Reply: 1, or 0 if the message is not there any more.
local removed
if place == 'list' then
  removed = redis.call('LREM', list, -1, entry)
else
  removed = redis.call('ZREM', place == 'lanes' and lanes or delayed, entry)
end
if removed == 0 then return 0 end
local status = job_id ~= '' and redis.call('HGET', record, 'status')
if status == 'queued' or (job_id ~= '' and not status) then
  end_waiting('canceled')
  redis.call('EXPIRE', record, ttl_s)
end
return 1
