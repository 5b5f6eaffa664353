"""The store: all data in Redis, and the scripts that change it. Functions here make commands; callers send them.

- `keys`: the names of all keys and channels
- `records`: the record of a job, from its submission to its end
- `events`: the messages for a job's listeners and its webhook
- `endings`: how a job ends that no worker has begun
- `webhook_records`: what became of the webhooks of a job
- `dead_letters`, `webhook_queue`, `worker_registry`, `queue_stats`: the other data
- `redis_url`: what is wrong with a URL, several sentinels in one, and a URL without its password
- `redis_refusals`: refusals of Redis that have a remedy
- `redis_connections`: connections that leave a server which is no primary any more
- `checked_out`: clients that keep connections checked out of redis-py's pool; `idle`: those that nobody uses now
- `scripts`: loads the Lua files of `lua/`, checks their calls, and names them by their hash

May import `imagefleet.contract`, `imagefleet.webhooks` and `imagefleet.errors`.
"""
