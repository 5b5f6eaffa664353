-- Count the messages that workers hold, by queue. It changes nothing.
--
-- KEYS
--   origins  hash: claim token to the list that the message was taken from
--
-- Reply: {queue, number of messages, queue, number of messages, ...}; a queue with the prefix of all keys.
local counts = {}
for _, list in ipairs(redis.call('HVALS', origins)) do
  -- A list is named for its queue and priority: `<queue>`, or `<queue>\6\22<priority>`.
  local name = string.match(list, '^[^\6]*')
  counts[name] = (counts[name] or 0) + 1
end
local found = {}
for name, count in pairs(counts) do found[#found + 1] = name; found[#found + 1] = count end
return found
