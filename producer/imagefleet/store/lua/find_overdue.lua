-- Find jobs whose deadlines have passed. It changes nothing.
--
-- LIB now
-- KEYS
--   deadlines  sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
-- ARGV
--   count      the largest number of jobs to find
--
-- Reply: their ids.
return redis.call('ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, count)
