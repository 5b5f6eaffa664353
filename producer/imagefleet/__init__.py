"""imagefleet: push prompts onto Redis, have a fleet of GPU workers make the images.

This is the light half that other services install: no torch, no boto3.

    from imagefleet import Client

    with Client("redis://127.0.0.1:6379/0") as client:
        job_id = client.submit("a dog on a skateboard", steps=20, width=512, height=512)
        print(client.result(job_id, timeout_s=600).raise_for_status().artifacts[0].uri)
"""

from importlib.metadata import version

from imagefleet.aio import AsyncClient
from imagefleet.cancellation import GroupCanceled
from imagefleet.client import Client
from imagefleet.errors import (
    ImageFleetError,
    InvalidJob,
    InvalidSignature,
    JobFailed,
    JobNotFound,
    QueueFull,
    QueueUnavailable,
    ResultTimeout,
)
from imagefleet.jobs import DEFAULT_LIMITS, GenerationJob, ImageFormat, JobLimits, Webhook, WebhookEvent
from imagefleet.outlook import Outlook
from imagefleet.overview import Overview, Queue
from imagefleet.results import Artifact, JobError, JobResult, JobStatus, JobUpdate, StepsDone, Timings
from imagefleet.settings import ClientSettings, SettingsInvalid
from imagefleet.snapshots import JobEvent, Preview, Progress, Snapshot
from imagefleet.workers import RunningJob, Worker, WorkerState

__all__ = [
    "DEFAULT_LIMITS",
    "Artifact",
    "AsyncClient",
    "Client",
    "ClientSettings",
    "GenerationJob",
    "GroupCanceled",
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
    "Webhook",
    "WebhookEvent",
    "Worker",
    "WorkerState",
    "__version__",
]

__version__ = version("imagefleet")
