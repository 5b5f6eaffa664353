-- Put a running job into its group, if no client has.
--
-- KEYS
--   record   hash: the record of the job
--   members  set: ids of the jobs of the group that have not ended
-- ARGV
--   job_id
--   group    name of the group
--   ttl_s    seconds that the group is kept
--
-- Reply: 1, or 0 if the job is in a group or has ended.
if redis.call('HGET', record, 'status') ~= 'running' or redis.call('HEXISTS', record, 'group') == 1 then return 0 end
redis.call('HSET', record, 'group', group)
redis.call('SADD', members, job_id)
redis.call('EXPIRE', members, ttl_s)
return 1
