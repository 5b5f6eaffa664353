-- Read the descriptions of all worker processes. It changes nothing.
--
-- LIB now
-- KEYS
--   workers  sorted set: ids of worker processes, scored with the time of the last heartbeat
-- ARGV
--   entries  prefix of the names of their descriptions
--
-- Reply: {now, description, seconds since its heartbeat, description, seconds since its heartbeat, ...}.
local found = {string.format('%.3f', now)}
local index = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
for i = 1, #index, 2 do
  local entry = redis.call('GET', entries .. index[i])
  if entry then
    found[#found + 1] = entry
    found[#found + 1] = string.format('%.3f', math.max(now - tonumber(index[i + 1]), 0))
  end
end
return found
