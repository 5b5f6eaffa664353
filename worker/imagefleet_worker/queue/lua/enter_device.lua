-- Note that a claimed job is about to enter its worker's device.
--
-- LIB now
-- KEYS
--   owners        hash: claim token to the id of the process that holds it
--   entered       hash: claim token to the JSON object below, for the jobs on the device of that process
-- ARGV
--   token         of the claim
--   owner         id of the process that holds it
--   worker        its name
--   device        its device, for people
--   ttl_s         seconds that the notes of a process are kept after the last one
--
-- Reply: 1, or 0 if the claim is not that process's any more.
redis.call('HDEL', entered, token)  -- a removal comes first, so that a full Redis lets the script write
if redis.call('HGET', owners, token) ~= owner then return 0 end
redis.call('HSET', entered, token, cjson.encode({worker = worker, device = device, entered = now}))
redis.call('EXPIRE', entered, ttl_s)
return 1
