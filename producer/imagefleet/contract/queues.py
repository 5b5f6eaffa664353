"""Names that clients and workers share: tasks, queues and their lists, headers; and the check of ids."""

import re
from typing import Any, Final

from imagefleet.errors import InvalidJob

GENERATE_TASK: Final = "imagefleet.generate"
DELIVER_TASK: Final = "imagefleet.deliver"
#: The queue of webhook deliveries. That is why no model may be called `webhooks`.
WEBHOOK_QUEUE: Final = "imagefleet.webhooks"
#: Message header: how often the message was taken over from a worker that stopped sending heartbeats.
REDELIVERIES_HEADER: Final = "x-redeliveries"
#: Message header: the workers that were lost while the job was on their devices, a list of objects.
LOST_WORKERS_HEADER: Final = "x-lost-workers"

_SEPARATOR: Final = "\x06\x16"  # kombu's own, between a queue's name and its priority step
#: Suffixes of a queue's lists, most urgent first. Plain Celery messages, and jobs of our default priority, are in the
#: list without a suffix. kombu puts less urgent messages into the lists of its steps 3, 6 and 9.
LEVELS: Final = (f"{_SEPARATOR}urgent", "", f"{_SEPARATOR}3", f"{_SEPARATOR}6", f"{_SEPARATOR}9")
_LEVEL_OF_PRIORITY: Final = (4, 3, 3, 2, 2, 1, 1, 1, 0, 0)
#: The priorities that wait in each of the lists, most urgent first.
PRIORITY_SPANS: Final = ("8-9", "5-7", "3-4", "1-2", "0")

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def queue_for(model: str) -> str:
    """The queue of the model with the alias *model*."""
    return f"imagefleet.{model}"


def level_for(priority: int) -> str:
    """The suffix of the list for jobs of *priority* (0 to 9; 9 is the most urgent)."""
    return LEVELS[_LEVEL_OF_PRIORITY[priority]]


def check_job_id(job_id: Any) -> str:
    """Return *job_id* if it may name keys in Redis and S3.

    Raises:
        InvalidJob: unless it is 1 to 128 letters, digits and `. _ : -`, the first a letter or digit.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidJob("id: must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit")
    return job_id


def check_label(field: str, label: str) -> str:
    """Return *label* if it may be the value of *field*, which is part of keys: the characters of job ids.

    Raises:
        InvalidJob: if it has other characters.
    """
    if not _JOB_ID.fullmatch(label):
        raise InvalidJob(f"{field}: must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit")
    return label


#: Message header: the fingerprint of the job, if a client of ours has sent it.
FINGERPRINT_HEADER: Final = "x-fingerprint"
#: Message header: the tenant. Scripts in Redis need not decode the body then.
TENANT_HEADER: Final = "tenant"
