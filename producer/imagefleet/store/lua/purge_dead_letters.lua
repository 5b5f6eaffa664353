-- Remove dead letters.
--
-- KEYS
--   letters  hash: id of a letter to the letter as JSON
--   index    sorted set: ids of letters, scored with the time at which they were added
-- ARGV
--   ids...   of the letters to remove; none: all letters
--
-- Reply: the number of letters that were removed.
if #ids == 0 then
  local count = redis.call('ZCARD', index)
  redis.call('DEL', letters, index)
  return count
end
local count = 0
for _, id in ipairs(ids) do
  count = count + redis.call('HDEL', letters, id)
  redis.call('ZREM', index, id)
end
return count
