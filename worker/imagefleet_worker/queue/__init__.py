"""The queue: how a message reaches this process, is held, given back, or becomes a dead letter.

- `redis_client`: the connections of a worker to Redis
- `result_backend`: Celery's result backends on these connections
- `transport`: kombu's transport for Redis, which claims messages instead of popping them
- `purge`, `purging_transport`: removes all that waits in a queue, for `celery purge`
- `notifier`: notices new messages without taking them
- `claimer`, `loop_waker`: the claim loop of one channel, and what wakes it
- `dispatcher`: hands a message to Celery, or dead-letters what Celery cannot run
- `message_check`, `message_headers`, `message_body`: whether Celery can run a message, and what it may say
- `body_encoding`, `json_values`, `moments`: what a body is encoded with, how deep values lie in each other, and times
- `protocol_1`: rewrites messages of Celery's old protocol
- `claims`: the commands that change who holds a message; their scripts are in `lua/`
- `leases`, `held_messages`, `lease_thread`: the claims of this process, what is known of each, and what renews them
- `claim_listener`: what is notified of the ends of claims
- `attempt_records`, `retry_records`: the commands that start and finish an attempt, and count those that failed
- `backoff`: how long to wait before another try
- `redelivery`: puts back the messages of dead workers, and those whose time has come
- `device_entries`, `lost_workers`: which jobs are on the device, and what is known of the workers that a job has lost
- `deadlines`, `cancellation`: threads that end overdue jobs, and listen for cancels
- `dead_letters`: keeps messages that are not run any more
- `deferred_commands`: sends the end of a claim later if Redis cannot be reached now

May import `settings` and `errors`; only `transport`, `purging_transport` and `result_backend` import kombu and Celery.
"""
