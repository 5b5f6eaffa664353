-- Record the progress of a running job, and publish it.
--
-- LIB now
-- KEYS
--   record          hash: the record of the job
--   preview         string: the last preview of the job
-- ARGV
--   progress        done/total, in denoising steps
--   channel, event  where the progress is published, and as what
--   image           the new preview, as JSON; empty: the last one is kept
--   image_ttl_s     seconds that the preview is kept
--   left_s          seconds that the remaining steps should take; empty: not known
--
-- Reply: 1 if somebody has canceled the job, else 0.
if redis.call('HGET', record, 'status') ~= 'running' then return 0 end
redis.call('HSET', record, 'progress', progress)
if left_s == '' then
  redis.call('HDEL', record, 'ends_at')
else
  redis.call('HSET', record, 'ends_at', string.format('%.3f', now + tonumber(left_s)))
end
if image ~= '' then redis.call('SET', preview, image) end
redis.call('EXPIRE', preview, image_ttl_s)
redis.call('PUBLISH', channel, event)
return redis.call('HEXISTS', record, 'cancel')
