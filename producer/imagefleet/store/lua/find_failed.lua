-- Find dead letters that are deliveries of webhooks. It changes nothing.
--
-- KEYS
--   letters  hash: id of a letter to the letter as JSON
--   index    sorted set: ids of letters, scored with the time at which they were added
-- ARGV
--   mark     text that only letters of deliveries have
--   text     text that the letter must have, too; empty: any letter
--   count    the largest number of letters to find
--
-- Reply: letters as JSON, the newest first.
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', index, 0, -1)) do
  if #found >= tonumber(count) then break end
  local letter = redis.call('HGET', letters, id)
  if letter and string.find(letter, mark, 1, true) and (text == '' or string.find(letter, text, 1, true)) then
    found[#found + 1] = letter
  end
end
return found
