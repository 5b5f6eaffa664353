-- Read the newest dead letters. It changes nothing.
--
-- KEYS
--   letters  hash: id of a letter to the letter as JSON
--   index    sorted set: ids of letters, scored with the time at which they were added
-- ARGV
--   count    the largest number of letters to read
--
-- Reply: letters as JSON, the newest first.
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', index, 0, tonumber(count) - 1)) do
  found[#found + 1] = redis.call('HGET', letters, id)
end
return found
