-- Record the end of a job, publish it, and push the messages that tell of it; end its claim, too, if asked to.
--
-- LIB now, claim, leave, note_webhook
-- KEYS
--   leases           sorted set: claim token, scored with the time at which its lease runs out
--   claims           hash: claim token to the message
--   owners           hash: claim token to the id of the process that holds it
--   origins          hash: claim token to the list that the message was taken from
--   tenants          hash: claim token to `<queue> <tenant>`, if the message has a tenant
--   tenants_running  hash: `<queue> <tenant>` to the number of claims
--   record           hash: the record of the job
--   deadlines        sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)
--   preview          string: the last preview of the job
-- ARGV
--   token            of the claim; empty: there is none
--   owner            id of the process that holds it
--   on_device        prefix of the names of hashes, one for each process: claim token to a note of `enter_device`
--   job_id
--   groups           prefix of the names of groups
--   status           with which the job ends
--   result           as JSON
--   ttl_s            seconds that the record of the ended job is kept
--   channel, event   where the end is published, and as what
--   fingerprint      of the job; empty: unknown
--   ends_claim       1: the claim ends in the same step; 0: somebody acknowledges the message later
--   outgoing...      pairs of a list and a message that is pushed
--
-- Reply: 'recorded', 'lost' if the claim is not that process's any more, 'taken' if the record is that of another job
-- or a key of another type, or the status with which the job had ended.
-- The claim has ended only with 'recorded'. Sent again, because that reply was lost, it replies with the status.
local before, is_last = redis.pcall('HGET', record, 'status'), ends_claim == '1'
if type(before) == 'table' then return 'taken' end  -- an error: a key of another type
local has_ended = before and before ~= 'queued' and before ~= 'running'
if token ~= '' and not is_held(token, owner) then
  return is_last and has_ended and before or 'lost'  -- this may be the second time, and the first has ended the claim
end
local known = fingerprint ~= '' and redis.call('HGET', record, 'fingerprint')
if known and known ~= fingerprint then return 'taken' end
if has_ended then return before end
leave(record, job_id, groups, deadlines)
if is_last then end_claim(token) end
redis.call('HSET', record, 'status', status, 'result', result, 'ended_at', string.format('%.6f', now))
redis.call('HDEL', record, 'progress', 'webhook', 'metadata', 'cancel', 'place', 'ends_at', 'message')
redis.call('DEL', preview)
redis.call('EXPIRE', record, ttl_s)
for i = 1, #outgoing, 2 do redis.call('LPUSH', outgoing[i], outgoing[i + 1]) end
if #outgoing > 0 then note_webhook(record, 'job.' .. status, '{"state":"queued"}') end
redis.call('PUBLISH', channel, event)
return 'recorded'
