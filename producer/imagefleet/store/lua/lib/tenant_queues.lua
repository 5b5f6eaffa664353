-- The waiting messages of tenants, who take turns (round robin).
--
-- Beside each list of a queue there may be these keys, whose names begin with the name of the list:
--
--   :tenants        sorted set: the waiting messages of all tenants, scored with their tokens; its size is their number
--   :tenant:<name>  list: the tokens of one tenant, the oldest last; its lane
--   :turns          sorted set: the lanes that are not empty, scored with the turn in which each was served last; the
--                   list itself, with the messages that have no tenant, takes part as the lane with the empty name
--   :turn, :token   the two counters
--   :number         number of messages that clients have pushed on the list itself; the outlook of a job reads it
--
-- A lane that is new, or not empty any more, is served before the lane that was served last and after all others.
--
-- `decoded(message)`             the message as a table, or nil if it is no JSON object with headers
-- `tenant_of(m)`                 the tenant of a decoded message, or nil
-- `length(list)`                 number of messages that wait in a list and its lanes
-- `join(list, tenant)`           gives a lane its place among the turns, if it has none
-- `put(push, list, message, tenant)` adds a message with LPUSH (last) or RPUSH (first) to its lane, or to the list
--                                itself if *tenant* is nil; returns the token, or the length of the list
local function decoded(message)
  local ok, m = pcall(cjson.decode, message)
  return ok and type(m) == 'table' and type(m.headers) == 'table' and m or nil
end

local function tenant_of(m)
  local tenant = m and m.headers.tenant
  if type(tenant) == 'string' and #tenant <= 128 and string.match(tenant, '^%w[%w._:-]*$') then return tenant end
end

local function length(list) return redis.call('LLEN', list) + redis.call('ZCARD', list .. ':tenants') end

local function join(list, tenant)
  local turn = tonumber(redis.call('GET', list .. ':turn') or '0')
  redis.call('ZADD', list .. ':turns', 'NX', turn - 0.5, tenant)
end

local function put(push, list, message, tenant)
  if not tenant then return redis.call(push, list, message) end
  local token = redis.call('INCR', list .. ':token')
  redis.call('ZADD', list .. ':tenants', token, message)
  redis.call(push, list .. ':tenant:' .. tenant, token)
  join(list, tenant)
  return token
end
