-- Note what became of a webhook in the record of its job.
--
-- LIB note_webhook
-- KEYS
--   record   hash: the record of the job
-- ARGV
--   event    name of the event
--   webhook  what became of it, as JSON
--
-- Reply: 1, or 0 if there is no such record.
if redis.call('EXISTS', record) == 0 then return 0 end
note_webhook(record, event, webhook)
return 1
