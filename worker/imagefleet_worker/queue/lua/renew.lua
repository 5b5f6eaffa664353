-- Renew leases.
--
-- It begins with a removal: a Redis whose memory is full refuses a script only at its first write, if that could grow.
--
-- LIB now
-- KEYS
--   leases      sorted set: claim token, scored with the time at which its lease runs out
--   owners      hash: claim token to the id of the process that holds it
-- ARGV
--   owner       id of the process that renews
--   duration_s  seconds until a lease runs out
--   records     prefix of the names of records
--   claims...   for each claim its token and the id of its job, or empty
--
-- Reply: {tokens of claims that are not this process's any more, ids of jobs that somebody has canceled}.
local lost, canceled = {}, {}
for i = 1, #claims, 2 do
  local token, job_id = claims[i], claims[i + 1]
  if redis.call('HGET', owners, token) == owner then
    redis.call('ZREM', leases, token)
    redis.call('ZADD', leases, now + tonumber(duration_s), token)
    -- A key of another type under the record's name must not end the other leases.
    local cancel = job_id ~= '' and redis.pcall('HGET', records .. job_id, 'cancel')
    if type(cancel) == 'string' then canceled[#canceled + 1] = job_id end
  else
    lost[#lost + 1] = token
  end
end
return {lost, canceled}
