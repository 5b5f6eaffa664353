-- Count the messages that wait for a time, by queue. It changes nothing.
--
-- KEYS
--   delayed  sorted set: JSON [list, message], scored with the time at which it is due
-- ARGV
--   most     number of entries to look at, those that are due first
--
-- Reply: {number of all messages, {queue, number of messages, queue, number of messages, ...}}; a queue with the prefix
-- of all keys.
local counts, names = {}, {}
for _, entry in ipairs(redis.call('ZRANGE', delayed, 0, most - 1)) do
  -- A list is named for its queue and priority: `<queue>`, or `<queue>\6\22<priority>`, which JSON escapes.
  local name = string.match(entry, '^%["([^"\\]*)')
  if name and not counts[name] then names[#names + 1] = name end
  if name then counts[name] = (counts[name] or 0) + 1 end
end
local found = {}
for _, name in ipairs(names) do found[#found + 1] = name; found[#found + 1] = counts[name] end
return {redis.call('ZCARD', delayed), found}
