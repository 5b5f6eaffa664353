-- Queue a webhook's delivery, if there are not too many.
--
-- KEYS
--   deliveries  list: webhooks to deliver
-- ARGV
--   most        number of deliveries that may wait; 0: any number
--   message     the message that delivers the webhook
--
-- Reply: 1, or 0 if there are too many.
if tonumber(most) > 0 and redis.call('LLEN', deliveries) >= tonumber(most) then return 0 end
redis.call('LPUSH', deliveries, message)
return 1
