-- `delay(list, message, m, due)` lets a message, decoded as *m*, wait until its time *due* has come. If it is a job
-- without a record, a record is made: so the job is seen as queued, and can be canceled.
--
-- LIB now
-- KEYS
--   delayed
-- ARGV
--   records, record_ttl_s, job_task
local function delay(list, message, m, due)
  redis.call('ZADD', delayed, string.format('%.6f', due), cjson.encode({list, message}))
  local id = m.headers.id
  if m.headers.task ~= job_task or type(id) ~= 'string' or #id > 128 or not string.match(id, '^%w[%w._:-]*$') then
    return
  end
  local record = records .. id
  if redis.call('EXISTS', record) == 1 then return end
  redis.call('HSET', record, 'status', 'queued', 'message', message)
  redis.call('EXPIRE', record, string.format('%.0f', due - now + tonumber(record_ttl_s)))
end
