"""The contract: the messages between clients and workers, and their format.

- `queues`: names of queues and tasks, priorities, headers
- `jobs`, `names`, `webhook_urls`: a request for images; what names and URLs in it may be made of
- `fingerprints`: whether two jobs with the same id are the same job
- `job_warnings`: what in a result is not as asked
- `validation_errors`: what is wrong with a field, as a sentence
- `results`: how a job ended
- `variables`: which `IMAGEFLEET_*` variables are no settings, and which were meant
- `messages`: a Celery message of protocol 2

May import `imagefleet.errors` and `imagefleet.tracing`.
"""
