"""Settings of Celery for `--config`: one that the app leaves open, and one that it makes itself."""

event_queue_ttl = 77
task_acks_late = False
