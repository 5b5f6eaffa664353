"""The process: the life of one worker process, from its start to its end.

- `current`: how what Celery makes reaches the process
- `lifecycle`: builds, starts and stops the parts of the process
- `builders`: builds some of the parts
- `opening`: the line in the log when it is open
- `image_storage`: reaches the bucket
- `startup`: builds what makes images and runs jobs
- `engine_handle`: the engine, for parts that start before it
- `redis_check`: whether Redis answers and keeps jobs, before the start
- `peers`: whether other workers serve the same model
- `calibrations`: what a warm-up has found, kept in Redis for the next worker
- `registration`: keeps the process in the registry of workers
- `start_check`: refuses what a worker cannot be, before anything is loaded
- `celery_worker`, `typed_options`: what Celery was asked to start
- `thread_pool`, `consumer`: Celery's own, with what this worker needs besides
- `revoke`, `remote_control`: the commands of `celery control` that mean something else here
- `refusals`, `celery_results`: end messages that no task runs, and answer the Celery apps that sent them
- `lost_messages`: finds messages that Celery took and does not run
- `ending`: says why the process ends
- `memory`: keeps what a process uses from growing with its jobs
- `drain`: finishes what fits and gives back the rest

May import `jobs`, `webhooks`, `group` and what lies below them; only `revoke`, `celery_results`, `remote_control`,
`thread_pool` and `consumer` import Celery.
"""
