-- Put the message of a dead letter back into its list.
--
-- KEYS
--   letters      hash: id of a letter to the letter as JSON
--   index        sorted set: ids of letters, scored with the time at which they were added
--   list         the list that the message was taken from
--   record       hash: the record of the job
-- ARGV
--   id           of the letter
--   message      as it is pushed
--   drops_record 1: the record of the ended job is deleted, so that the job can run again; 0: it is kept
--
-- Reply: 1, or 0 if there is no such letter.
if redis.call('HDEL', letters, id) == 0 then return 0 end
redis.call('ZREM', index, id)
if drops_record == '1' then redis.call('DEL', record) end
redis.call('LPUSH', list, message)
return 1
