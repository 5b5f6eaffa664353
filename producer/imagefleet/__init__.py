"""imagefleet: push prompts onto Redis, have a fleet of GPU workers make the images.

This is the light half that other services install: no torch, and boto3 only for links (the extra `s3`).

    from imagefleet import Client

    with Client("redis://127.0.0.1:6379/0") as client:
        job_id = client.submit("a dog on a skateboard", steps=20, width=512, height=512)
        print(client.result(job_id, timeout_s=600).raise_for_status().artifacts[0].uri)
"""

from importlib.metadata import version

from imagefleet.client import Client
from imagefleet.client.aio import AsyncClient
from imagefleet.client.cancellation import GroupCanceled
from imagefleet.client.outlook import Outlook
from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import JobEvent, Preview, Progress, Snapshot
from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import DEFAULT_LIMITS, GenerationJob, ImageFormat, JobLimits, Webhook, WebhookEvent
from imagefleet.contract.results import Artifact, JobError, JobResult, JobStatus, JobUpdate, StepsDone, Timings
from imagefleet.errors import (
    IdTaken,
    ImageFleetError,
    InvalidJob,
    InvalidSignature,
    JobFailed,
    JobNotFound,
    LinkNotSigned,
    NoWorker,
    QueueFull,
    QueueUnavailable,
    ResultTimeout,
    SettingsInvalid,
)
from imagefleet.links.settings import LinkSettings
from imagefleet.store.queue_stats import Overview, Queue
from imagefleet.store.webhook_records import WebhookRecord, WebhookState
from imagefleet.store.worker_registry import RunningJob, Worker, WorkerState

__all__ = [
    "DEFAULT_LIMITS",
    "Artifact",
    "AsyncClient",
    "Client",
    "ClientSettings",
    "GenerationJob",
    "GroupCanceled",
    "IdTaken",
    "ImageFleetError",
    "ImageFormat",
    "InvalidJob",
    "InvalidSignature",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobLimits",
    "JobNotFound",
    "JobResult",
    "JobStatus",
    "JobUpdate",
    "JobWarning",
    "LinkNotSigned",
    "LinkSettings",
    "NoWorker",
    "Outlook",
    "Overview",
    "Preview",
    "Progress",
    "Queue",
    "QueueFull",
    "QueueUnavailable",
    "ResultTimeout",
    "RunningJob",
    "SettingsInvalid",
    "Snapshot",
    "StepsDone",
    "Timings",
    "WarningCode",
    "Webhook",
    "WebhookEvent",
    "WebhookRecord",
    "WebhookState",
    "Worker",
    "WorkerState",
    "__version__",
]

__version__ = version("imagefleet")
