-- Put messages whose time has come last into their lists or lanes.
--
-- LIB now, tenant_queues
-- KEYS
--   delayed  sorted set: JSON [list, message], scored with the time at which it is due
-- ARGV
--   count    the largest number of messages to move
--
-- Reply: {number of messages that were moved, seconds until the next one is due or '' if there is none}.
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, count)
for _, entry in ipairs(due) do
  local list, message = unpack(cjson.decode(entry))
  redis.call('ZREM', delayed, entry)
  put('LPUSH', list, message, tenant_of(decoded(message)))
end
local next_entry = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
return {#due, next_entry[2] and string.format('%.3f', math.max(tonumber(next_entry[2]) - now, 0)) or ''}
