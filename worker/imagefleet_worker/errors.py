"""What can go wrong in a worker: who is to blame, whether trying again helps, and how the process ends."""

from enum import IntEnum
from typing import ClassVar

from imagefleet.errors import ImageFleetError


class ExitCode(IntEnum):
    """How a worker process ends when it cannot go on; shells and Kubernetes show the number."""

    OK = 0
    SETTINGS_INVALID = 78
    INTERNAL_ERROR = 70
    REDIS_UNAVAILABLE = 69
    MODEL_UNAVAILABLE = 71
    STORAGE_UNAVAILABLE = 72
    DEVICE_HUNG = 73
    DEVICE_FAULT = 74
    DEVICE_GROUP_BROKEN = 75


class WorkerError(ImageFleetError):
    """The base of the worker's own errors."""

    code = "internal_error"
    #: Whether the same job may succeed when it is tried again later.
    retryable: ClassVar[bool] = False


class SettingsInvalid(WorkerError):
    """The environment does not make valid settings."""

    code = "settings_invalid"


class ModelUnavailable(WorkerError):
    """The model cannot be loaded, or makes no image."""

    code = "model_unavailable"


class JobRejected(WorkerError):
    """The job is well formed, and yet nothing that this model can do."""

    code = "invalid_job"


class JobCanceled(WorkerError):
    """Somebody canceled the job while it ran."""

    code = "canceled"


class JobExpired(WorkerError):
    """The job's deadline has passed."""

    code = "expired"


class LeaseLost(WorkerError):
    """Another worker may hold this job's message by now: stop, and touch nothing more."""

    code = "lease_lost"


class OutOfMemory(WorkerError):
    """The job does not fit the device's memory even alone."""

    code = "out_of_memory"


class ImageNotFinite(WorkerError):
    """The model produced values that are not numbers; such an image would be black."""

    code = "image_not_finite"


class GenerationFailed(WorkerError):
    """The pipeline raised an error for this job."""

    code = "generation_failed"


class DeviceFault(WorkerError):
    """The device is in a state that only a new process can leave."""

    code = "device_fault"
    retryable = True


class GroupBroken(WorkerError):
    """A rank of the device group has died, or hangs; only a new group helps."""

    code = "group_broken"
    retryable = True


class StorageUnavailable(WorkerError):
    """S3 does not answer, or answers that it cannot now."""

    code = "storage_unavailable"
    retryable = True


class StorageRefused(WorkerError):
    """S3 answers that it will not: credentials, permissions, or a bucket that is not there."""

    code = "storage_refused"


class Poisoned(WorkerError):
    """Every worker that ran this job fell silent; it will not be run again."""

    code = "poisoned"


class AddressRefused(WorkerError):
    """A webhook's URL leads where this worker must not send anything."""

    code = "address_refused"


class DeliveryFailed(WorkerError):
    """The receiver did not accept the webhook."""

    code = "delivery_failed"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, is_overloaded: bool = True) -> None:
        super().__init__(message)
        #: How long the receiver asked to wait, in seconds.
        self.retry_after_s = retry_after_s
        #: Whether other events for the same endpoint would fare no better now.
        self.is_overloaded = is_overloaded


class DeliveryGone(WorkerError):
    """The receiver wants no more events."""

    code = "delivery_gone"


class LocalUnavailable(WorkerError):
    """A part of a fleet on one machine cannot be started."""

    code = "local_unavailable"


#: How a worker process ends that cannot be opened because of such an error.
EXIT_CODES: dict[type[WorkerError], ExitCode] = {
    SettingsInvalid: ExitCode.SETTINGS_INVALID,
    ModelUnavailable: ExitCode.MODEL_UNAVAILABLE,
    StorageUnavailable: ExitCode.STORAGE_UNAVAILABLE,
    StorageRefused: ExitCode.STORAGE_UNAVAILABLE,
    GroupBroken: ExitCode.DEVICE_GROUP_BROKEN,
}
