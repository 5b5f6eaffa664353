-- Begin an attempt at a job that has not begun as its message was claimed.
--
-- LIB now, begin_attempt
-- KEYS
--   record  hash: the record of the job
--   owners  hash: claim token to the id of the process that holds it
-- ARGV
--   token   of the claim; empty: there is none
--   owner   id of the process that holds it
--   worker  name of the worker
--   model   alias of the model
--   ttl_s   seconds that the record is kept
--   fingerprint  of the job; empty: unknown
--
-- Reply: {'started' or 'canceled', number of the attempt, seconds that the job was queued}, {'ended', status} if it has
-- ended, {'taken'} if the record is that of another job or a key of another type, or {'lost'} if the claim is not that
-- process's any more.
if token ~= '' and redis.call('HGET', owners, token) ~= owner then return {'lost'} end
local seen = redis.pcall('HMGET', record, 'status', 'cancel', 'queued_at', 'fingerprint')
if seen.err then return {'taken'} end
local status, is_canceled, queued_at, known = seen[1], seen[2], seen[3], seen[4]
if known and fingerprint ~= '' and known ~= fingerprint then return {'taken'} end
if status and status ~= 'queued' and status ~= 'running' then return {'ended', status} end
local attempts = begin_attempt(record, worker, ttl_s)
redis.call('HSET', record, 'model', model)
if fingerprint ~= '' then redis.call('HSET', record, 'fingerprint', fingerprint) end
local queued_s = queued_at and string.format('%.6f', now - tonumber(queued_at)) or '0'
return {is_canceled and 'canceled' or 'started', attempts, queued_s}
