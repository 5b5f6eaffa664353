-- End a claim, and put its message first in its list or lane.
--
-- LIB tenant_queues, claim, queue_again
-- KEYS
--   leases           sorted set: claim token, scored with the time at which its lease runs out
--   claims           hash: claim token to the message
--   owners           hash: claim token to the id of the process that holds it
--   origins          hash: claim token to the list that the message was taken from
--   tenants          hash: claim token to `<queue> <tenant>`, if the message has a tenant
--   tenants_running  hash: `<queue> <tenant>` to the number of claims
-- ARGV
--   token            of the claim
--   owner            id of the process that holds it
--   on_device        prefix of the names of hashes, one for each process: claim token to a note of `enter_device`
--   changed          message to put in place of the claimed one; empty: the claimed one
--   records          prefix of the names of records
--
-- Reply: 1, or 0 if the claim is not that process's any more.
if not is_held(token, owner) then return 0 end
local message = changed ~= '' and changed or redis.call('HGET', claims, token)
local list = redis.call('HGET', origins, token)
end_claim(token)
if message and list then
  local m = decoded(message)
  put('RPUSH', list, message, tenant_of(m))
  queue_again(m, records)
end
return 1
