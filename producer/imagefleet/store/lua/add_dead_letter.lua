-- Keep a message that is not run any more. Letters that are too old are dropped, and the oldest if there are too many.
--
-- It begins with a removal: a Redis whose memory is full refuses a script only at its first write, if that could grow.
--
-- LIB now
-- KEYS
--   letters   hash: id of a letter to the letter as JSON
--   index     sorted set: ids of letters, scored with the time at which they were added
-- ARGV
--   id        of the new letter
--   letter    the letter as JSON
--   most      number of letters that are kept
--   ttl_s     seconds that a letter is kept
--
-- Reply: the number of letters.
redis.call('ZREM', index, id)
redis.call('HSET', letters, id, letter)
redis.call('ZADD', index, now, id)
local function drop(ids)
  for _, each in ipairs(ids) do redis.call('HDEL', letters, each); redis.call('ZREM', index, each) end
end
drop(redis.call('ZRANGEBYSCORE', index, '-inf', now - tonumber(ttl_s)))
local over = redis.call('ZCARD', index) - tonumber(most)
if over > 0 then drop(redis.call('ZRANGE', index, 0, over - 1)) end
return redis.call('ZCARD', index)
