-- Put a message that waits for a time into its list now.
--
-- KEYS
--   delayed  sorted set: JSON [list, message], scored with the time at which it is due
-- ARGV
--   entry    the entry of that set
--
-- Reply: 1, or 0 if there is no such entry.
if redis.call('ZREM', delayed, entry) == 0 then return 0 end
local list, message = unpack(cjson.decode(entry))
redis.call('LPUSH', list, message)
return 1
