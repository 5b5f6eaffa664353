-- Count the messages that fall due soon, by queue, and all that wait for a time. It changes nothing.
--
-- LIB now
-- KEYS
--   delayed  sorted set: JSON [list, message], scored with the time at which it is due
-- ARGV
--   soon_s   seconds
--   most     number of entries to look at, those that are due first: each is read with its message
--
-- Reply: {number of all messages, {queue, number of messages due within soon_s, queue, number, ...}}; a queue with the
-- prefix of all keys.
local counts = {}
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now + tonumber(soon_s), 'LIMIT', 0, most)) do
  -- A list is named for its queue and priority: `<queue>`, or `<queue>\6\22<priority>`, which JSON escapes.
  local name = string.match(entry, '^%["([^"\\]*)')
  if name then counts[name] = (counts[name] or 0) + 1 end
end
local found = {}
for name, count in pairs(counts) do found[#found + 1] = name; found[#found + 1] = count end
return {redis.call('ZCARD', delayed), found}
