"""Wire facts that both sides share: task names, queues and their lists, and the names of every key in Redis."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from imagefleet.errors import InvalidJob

GENERATE_TASK: Final = "imagefleet.generate"
DELIVER_TASK: Final = "imagefleet.deliver"
#: The queue of webhook deliveries; so no model may be called `webhooks`.
WEBHOOK_QUEUE: Final = "imagefleet.webhooks"
#: Message header that counts how often a message was taken from a worker that fell silent.
REDELIVERIES_HEADER: Final = "x-redeliveries"

_SEPARATOR: Final = "\x06\x16"  # kombu's own, between a queue's name and its priority step
#: Suffixes of a queue's lists, most urgent first. Plain Celery messages lie in the list without a suffix, which is the
#: place of our default priority; the steps 3, 6 and 9 are where kombu puts what Celery calls less urgent.
LEVELS: Final = (f"{_SEPARATOR}urgent", "", f"{_SEPARATOR}3", f"{_SEPARATOR}6", f"{_SEPARATOR}9")
_LEVEL_OF_PRIORITY: Final = (4, 3, 3, 2, 2, 1, 1, 1, 0, 0)
#: The priorities that wait in each of the lists, most urgent first.
PRIORITY_SPANS: Final = ("8-9", "5-7", "3-4", "1-2", "0")

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def queue_for(model: str) -> str:
    """The queue that the workers of the model alias *model* consume."""
    return f"imagefleet.{model}"


def level_for(priority: int) -> str:
    """The suffix of the list that jobs of *priority* (0 to 9, 9 is the most urgent) wait in."""
    return LEVELS[_LEVEL_OF_PRIORITY[priority]]


def check_job_id(job_id: str) -> str:
    """Return *job_id* if it may name keys in Redis and S3.

    Raises:
        InvalidJob: for anything but 1 to 128 letters, digits and `. _ : -`, the first a letter or digit.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise InvalidJob("id: must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit")
    return job_id


def check_label(field: str, label: str) -> str:
    """Return *label* if it may be the value of *field*, which names keys: the same characters as in job ids.

    Raises:
        InvalidJob: for anything else.
    """
    if not _JOB_ID.fullmatch(label):
        raise InvalidJob(f"{field}: must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit")
    return label


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all keys and channels in Redis, behind one optional prefix."""

    prefix: str = ""

    def lists(self, queue: str) -> list[str]:
        """The lists of *queue*, most urgent first."""
        return [f"{self.prefix}{queue}{level}" for level in LEVELS]

    def lanes(self, queue: str) -> list[str]:
        """Sorted sets: messages of *queue* that wait in the lanes of tenants, most urgent first; see `lanes`."""
        return [f"{key}:tenants" for key in self.lists(queue)]

    def list_for(self, queue: str, priority: int) -> str:
        """The list that a message of *priority* is pushed on."""
        return f"{self.prefix}{queue}{level_for(priority)}"

    @property
    def deliveries(self) -> str:
        """List: deliveries of webhooks; the one that plain Celery messages of their queue lie in, too."""
        return f"{self.prefix}{WEBHOOK_QUEUE}"

    def job(self, job_id: str) -> str:
        """Hash: the record of a job."""
        return f"{self.prefix}imagefleet:job:{job_id}"

    def events(self, job_id: str) -> str:
        """Channel: what happens to a job."""
        return f"{self.prefix}imagefleet:events:{job_id}"

    def preview(self, job_id: str) -> str:
        """String: the last preview of a running job, as JSON."""
        return f"{self.prefix}imagefleet:preview:{job_id}"

    def gone(self, url: str) -> str:
        """String: that the receiver at *url* wants no more webhooks."""
        return f"{self.prefix}imagefleet:webhooks:gone:{hashlib.sha256(url.encode()).hexdigest()[:32]}"

    def group(self, name: str) -> str:
        """Set: ids of the jobs of a group that have not ended."""
        return f"{self.prefix}imagefleet:group:{name}"

    @property
    def deadlines(self) -> str:
        """Sorted set: ids of jobs that have not ended, scored with their deadlines (seconds since 1970)."""
        return f"{self.prefix}imagefleet:deadlines"

    @property
    def control(self) -> str:
        """Channel: ids of running jobs that somebody canceled."""
        return f"{self.prefix}imagefleet:control"

    @property
    def leases(self) -> str:
        """Sorted set: claim token, scored with the Redis time (seconds) at which its lease runs out."""
        return f"{self.prefix}imagefleet:leases"

    @property
    def claims(self) -> str:
        """Hash: claim token to the message as it lay in the list."""
        return f"{self.prefix}imagefleet:claims"

    @property
    def owners(self) -> str:
        """Hash: claim token to the id of the process that holds it."""
        return f"{self.prefix}imagefleet:owners"

    @property
    def origins(self) -> str:
        """Hash: claim token to the list that the message was taken from."""
        return f"{self.prefix}imagefleet:origins"

    @property
    def tenants(self) -> str:
        """Hash: claim token to `<queue> <tenant>`, for claims on messages of tenants."""
        return f"{self.prefix}imagefleet:tenants"

    @property
    def tenants_running(self) -> str:
        """Hash: `<queue> <tenant>` to the number of claims."""
        return f"{self.prefix}imagefleet:tenants:running"

    @property
    def delayed(self) -> str:
        """Sorted set: JSON `[list, message]`, scored with the Redis time (seconds) at which it is due."""
        return f"{self.prefix}imagefleet:delayed"

    @property
    def dead(self) -> str:
        """Hash: dead letter id to the dead letter as JSON."""
        return f"{self.prefix}imagefleet:dead"

    @property
    def dead_index(self) -> str:
        """Sorted set: dead letter id, scored with the Redis time (seconds) at which it was put there."""
        return f"{self.prefix}imagefleet:dead:index"

    @property
    def workers(self) -> str:
        """Sorted set: id of a worker process, scored with the Redis time (seconds) of its last sign of life."""
        return f"{self.prefix}imagefleet:workers"

    def worker(self, worker_id: str) -> str:
        """String: what a worker process says of itself, as JSON; gone when it is not said again."""
        return f"{self.prefix}imagefleet:worker:{worker_id}"

    @property
    def queues(self) -> str:
        """Set: names of the queues that workers consume or clients have filled."""
        return f"{self.prefix}imagefleet:queues"
