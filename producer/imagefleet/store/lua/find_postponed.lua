-- Find deliveries that wait for the time of their next try. It changes nothing.
--
-- KEYS
--   delayed  sorted set: JSON [list, message], scored with the time at which it is due
-- ARGV
--   list     the list of deliveries
--   text     text that the message must have; empty: any message
--   count    the largest number of deliveries to find
--   start    number of the entry to begin at, from 0
--   page     number of entries to look at
--
-- Reply: {number of entries that were looked at, {due at, entry, due at, entry, ...}}.
local head, found = '[' .. cjson.encode(list) .. ',', {}
local entries = redis.call('ZRANGE', delayed, start, start + page - 1, 'WITHSCORES')
for i = 1, #entries, 2 do
  local entry = entries[i]
  if #found >= 2 * count then break end
  if string.sub(entry, 1, #head) == head and (text == '' or string.find(entry, text, 1, true)) then
    found[#found + 1] = entries[i + 1]
    found[#found + 1] = entry
  end
end
return {#entries / 2, found}
