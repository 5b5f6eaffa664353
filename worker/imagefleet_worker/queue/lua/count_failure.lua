-- Count the failure of an attempt, once however often it is sent.
--
-- LIB now
-- KEYS
--   record   hash: the record of the job
--   owners   hash: claim token to the id of the process that holds it
-- ARGV
--   token    of the claim; empty: there is none
--   owner    id of the process that holds it
--   attempt  number of the attempt that failed
--
-- Reply: {'counted', number of failures, seconds since the first attempt that failed began}, or {'lost'} if the claim
-- is not that process's any more.
if token ~= '' and redis.call('HGET', owners, token) ~= owner then return {'lost'} end
if redis.call('HGET', record, 'failed_attempt') ~= attempt then
  redis.call('HSET', record, 'failed_attempt', attempt)
  redis.call('HINCRBY', record, 'failures', 1)
  local began = redis.call('HGET', record, 'started_at') or string.format('%.6f', now)
  redis.call('HSETNX', record, 'failing_since', began)
end
local seen = redis.call('HMGET', record, 'failures', 'failing_since')
local failures, failing_since = tonumber(seen[1]), tonumber(seen[2])
return {'counted', failures, string.format('%.6f', now - failing_since)}
