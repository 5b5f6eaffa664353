"""Supervision: the worker processes of one machine are started, watched and restarted.

- `command`: `imagefleet-worker --devices`
- `supervisor`: the workers of several devices
- `device_worker`: one device and its worker process, over all its restarts
- `restart_policy`: whether and when a worker that ended is restarted
- `child_process`, `celery_command`: a process that this one starts and ends; the command line of a worker
- `requirements`: the packages that a worker needs, and the extra that installs them
- `die_with_parent`: a program that ends a process with its parent

`local` and `group` start their processes with this room, too. May import `observability`, `hardware`, `settings`,
`errors` and `health`.
"""
