"""Keys: the names of every key and channel in Redis, behind one optional prefix."""

import hashlib
from dataclasses import dataclass

from imagefleet.contract.queues import LEVELS, WEBHOOK_QUEUE, level_for


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all keys and channels in Redis, behind one optional prefix."""

    prefix: str = ""

    def lists(self, queue: str) -> list[str]:
        """The lists of *queue*, most urgent first."""
        return [f"{self.prefix}{queue}{level}" for level in LEVELS]

    def lanes(self, queue: str) -> list[str]:
        """Sorted sets: waiting messages of tenants in *queue*, most urgent first; see `lua/lib/tenant_queues.lua`."""
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
        """Channel: the events of a job."""
        return f"{self.prefix}imagefleet:events:{job_id}"

    def preview(self, job_id: str) -> str:
        """String: the last preview of a running job, as JSON."""
        return f"{self.prefix}imagefleet:preview:{job_id}"

    def calibration(self, fingerprint: str) -> str:
        """String: what a worker measured and proved about a model on a kind of device, as JSON."""
        return f"{self.prefix}imagefleet:calibration:{fingerprint}"

    def gone(self, url: str) -> str:
        """String, set if the receiver at *url* wants no more webhooks."""
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

    def on_device(self, owner: str) -> str:
        """Hash: claim token to a note, as JSON, for the jobs on the device of the process *owner*."""
        return f"{self.prefix}imagefleet:device:{owner}"

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
        """Sorted set: id of a worker process, scored with the Redis time (seconds) of its last heartbeat."""
        return f"{self.prefix}imagefleet:workers"

    def worker(self, worker_id: str) -> str:
        """String: the description of a worker process, as JSON; it expires without heartbeats."""
        return f"{self.prefix}imagefleet:worker:{worker_id}"

    @property
    def served(self) -> str:
        """Set: names of the queues that workers consume or have consumed."""
        return f"{self.prefix}imagefleet:served"

    @property
    def queues(self) -> str:
        """Set: names of the queues that workers consume or clients have filled."""
        return f"{self.prefix}imagefleet:queues"
