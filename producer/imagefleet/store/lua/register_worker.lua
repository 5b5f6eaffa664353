-- Write down a worker process and its queues, and drop the processes that have not been written down for long.
--
-- It begins with a removal: a Redis whose memory is full refuses a script only at its first write, if that could grow.
--
-- LIB now
-- KEYS
--   workers      sorted set: ids of worker processes, scored with the time of the last heartbeat
--   entry        string: the description of this process
--   queues       set: names of queues
--   served       set: names of those of them that workers have consumed
-- ARGV
--   id           of the process
--   description  as JSON
--   ttl_s        seconds that the description is kept
--   names...     of the queues that the process consumes
--
-- Reply: 1.
redis.call('ZREM', workers, id)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - tonumber(ttl_s))
redis.call('ZADD', workers, now, id)
redis.call('SET', entry, description, 'PX', math.ceil(tonumber(ttl_s) * 1000))
if #names > 0 then
  redis.call('SADD', queues, unpack(names))
  redis.call('SADD', served, unpack(names))
end
return 1
