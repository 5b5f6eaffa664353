"""Lanes: the waiting messages of tenants, who take turns, as Lua that every script which pushes or claims shares.

Beside each list of a queue, whose name all of these begin with, there may be

- `:tenants`, a sorted set of the messages that wait in lanes, scored by their tokens: what counts a queue counts it;
- `:tenant:<name>`, a list of the tokens of one tenant, the oldest last: its lane;
- `:turns`, a sorted set of the lanes that are not empty, scored by the turn in which each was served last. The list
  itself, where messages without a tenant wait, takes part as the lane without a name;
- `:turn` and `:token`, the two counters.

`:number` counts what clients have pushed on the list itself, for `outlook`.

Who is new, or comes again, is served before the one that was served last, and after all others: round robin.
"""

from typing import Final

#: The tenant of a message stands in its headers, so that Redis need not read the body.
TENANT_HEADER: Final = "tenant"

LANES: Final = """
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
"""
