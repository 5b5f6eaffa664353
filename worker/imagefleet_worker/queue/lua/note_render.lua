-- Note that the images of a job are made and wait for S3, or count a render that begins after that.
--
-- KEYS
--   record  hash: the record of the job
-- ARGV
--   event   'made', or 'begins'
--
-- Reply: how often the job was rendered again after its images were made.
if redis.call('EXISTS', record) == 1 then
  if event == 'made' then
    redis.call('HSET', record, 'made', '1')
  elseif redis.call('HGET', record, 'made') then
    redis.call('HINCRBY', record, 'renders_repeated', 1)
  end
end
return tonumber(redis.call('HGET', record, 'renders_repeated') or '0')
