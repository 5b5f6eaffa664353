-- `note_webhook(record, event, webhook)` notes what became of the webhook of *event*: *webhook*, as JSON.
local function note_webhook(record, event, webhook)
  local known = redis.call('HGET', record, 'webhooks')
  local all = known and cjson.decode(known) or {}
  all[event] = cjson.decode(webhook)
  redis.call('HSET', record, 'webhooks', cjson.encode(all))
end
