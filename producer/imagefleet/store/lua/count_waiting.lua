-- Count the messages that wait in a queue, and look for the oldest. It changes nothing.
--
-- Jobs are pushed on the left, so the oldest message of a list is the last. The cost does not depend on the number of
-- messages.
--
-- LIB now, tenant_queues
-- KEYS
--   lists...  the lists of the queue, the most urgent first
-- ARGV
--   records   prefix of the names of records
--
-- Reply: {{number of messages in each list}, age of the oldest in seconds}; the age is empty if nothing waits, or
-- nothing that a client has submitted.
local depths, oldest = {}, nil
local function look(message)
  local m = message and decoded(message)
  if m and type(m.headers.id) == 'string' then
    local at = redis.pcall('HGET', records .. m.headers.id, 'queued_at')
    at = type(at) == 'string' and tonumber(at)
    if at and (not oldest or at < oldest) then oldest = at end
  end
end
for i, list in ipairs(lists) do
  depths[i] = length(list)
  look(redis.call('LINDEX', list, -1))
  look(redis.call('ZRANGE', list .. ':tenants', 0, 0)[1])
end
return {depths, oldest and string.format('%.3f', math.max(now - oldest, 0)) or ''}
