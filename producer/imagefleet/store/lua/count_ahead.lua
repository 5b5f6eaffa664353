-- Count what is ahead of a waiting message. It changes nothing.
--
-- LIB tenant_queues
-- KEYS
--   list       the list of the message
--   urgent...  the lists of its queue that are more urgent
-- ARGV
--   number     of the message: how many had been pushed on the list with it, or its token if it is a tenant's
--   tenant     or empty
--
-- Reply: {messages in more urgent lists, messages in this list and its lanes, lanes that are not empty, messages that
-- are not after this one in its own lane}.
local more_urgent = 0
for _, each in ipairs(urgent) do more_urgent = more_urgent + length(each) end
local plain, turns = redis.call('LLEN', list), redis.call('ZCARD', list .. ':turns')
if plain > 0 and not redis.call('ZSCORE', list .. ':turns', '') then turns = turns + 1 end
local first
if tenant == '' then
  first = plain - (tonumber(redis.call('GET', list .. ':number') or '0') - tonumber(number))
else
  local before = redis.call('ZCOUNT', list .. ':tenants', '-inf', number)
  first = math.min(before, redis.call('LLEN', list .. ':tenant:' .. tenant))
end
return {more_urgent, length(list), turns, first}
