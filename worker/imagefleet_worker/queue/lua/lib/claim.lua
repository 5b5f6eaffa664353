-- `is_held(token, owner)`  whether the claim is that process's
-- `end_claim(token)`       removes the claim, wherever it stands
--
-- A claim is a token in six places: when its lease runs out, the message, the list that it came from, the process that
-- holds it; if the message has a tenant, that it is one of the tenant's; and, if its job is on the device of that
-- process, the note of it.
--
-- KEYS
--   leases, claims, owners, origins, tenants, tenants_running
-- ARGV
--   on_device
local function is_held(token, owner) return redis.call('HGET', owners, token) == owner end

local function end_claim(token)
  redis.call('ZREM', leases, token)
  local holder = redis.call('HGET', owners, token)
  if holder then redis.call('HDEL', on_device .. holder, token) end
  redis.call('HDEL', claims, token)
  redis.call('HDEL', owners, token)
  redis.call('HDEL', origins, token)
  local tenant = redis.call('HGET', tenants, token)
  if tenant then
    redis.call('HDEL', tenants, token)
    if redis.call('HINCRBY', tenants_running, tenant, -1) <= 0 then redis.call('HDEL', tenants_running, tenant) end
  end
end
