"""What can go wrong in a worker: whose fault it is, and whether a retry helps.

The docstring of an error has its cause, then whose fault it is and what to do; docs/errors.md is made of them.
"""

from collections.abc import Sequence
from typing import ClassVar

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.errors import ImageFleetError


class WorkerError(ImageFleetError):
    """An error that imagefleet did not foresee; also the base of all errors of a worker.

    Fault: imagefleet.
    Remedy: Report it, with the worker's log of the job.
    """

    code = "internal_error"
    #: Whether the same job may succeed when it is tried again later.
    retryable: ClassVar[bool] = False
    #: What was found to be not as the job asked, for its result.
    warnings: tuple[JobWarning, ...] = ()


class ModelUnavailable(WorkerError):
    """The model cannot be loaded, or makes no image, or its device is not there; the worker ends with 71.

    Fault: the model's files, IMAGEFLEET_MODEL_*, or a device that is too small or missing.
    Remedy: Read the message; `imagefleet-worker doctor` looks at source, files, number format and device.
    """

    code = "model_unavailable"


class JobRejected(WorkerError):
    """The job is well formed, but this model cannot do it: for example a negative prompt that it does not take.

    Fault: the producer.
    Remedy: Change the fields that the message names, or send the job to another model.
    """

    code = "invalid_job"


class NotAsAsked(WorkerError):
    """The job is strict, and its images would not be as it asks for, or are not; `warnings` in its result say why.

    Fault: the producer.
    Remedy: Change what the warnings name (docs/results.md), send the job to another model, or leave `strict` out.
    """

    code = "not_as_asked"

    def __init__(self, warnings: Sequence[JobWarning]) -> None:
        super().__init__("; ".join(warning.message for warning in warnings))
        self.warnings = tuple(warnings)


class JobCanceled(WorkerError):
    """Somebody canceled the job.

    Fault: nobody.
    Remedy: Nothing. Submit it under a new id if the images are wanted after all.
    """

    code = "canceled"


class JobExpired(WorkerError):
    """The deadline of the job passed before it had ended.

    Fault: nobody; the fleet was too slow for this deadline.
    Remedy: Add workers, raise the priority, or set a later deadline; submit under a new id.
    """

    code = "expired"


class JobTimedOut(WorkerError):
    """The attempt took longer than a time limit: of its message, of `--time-limit`, or of `control time_limit`.

    Fault: the producer or whoever set the limit, or a device that is too slow for it.
    Remedy: Ask for fewer steps or smaller images, or set a longer limit; submit under a new id.
    """

    code = "timed_out"


class LeaseLost(WorkerError):
    """This worker lost its claim on the job, so another one may run it; the attempt ends and writes nothing more.

    Fault: the worker's machine or its way to Redis, which stalled for longer than a lease.
    Remedy: Nothing for the job: its new worker ends it. In the log only; no result has this code.
    """

    code = "lease_lost"


class OutOfMemory(WorkerError):
    """The job does not fit the device's memory even image by image.

    Fault: the producer, or a device that is too small.
    Remedy: Ask for smaller images, lower IMAGEFLEET_LIMIT_MAX_PIXELS, or use a device with more memory (docs/speed.md).
    """

    code = "out_of_memory"


class ImageNotFinite(WorkerError):
    """The model produced values that are not finite numbers; such an image would be black.

    Fault: the model in this number format.
    Remedy: Set IMAGEFLEET_MODEL_DTYPE to bfloat16 or float32; try another seed, scheduler or guidance scale.
    """

    code = "image_not_finite"


class ImageFlagged(WorkerError):
    """A safety checker has flagged an image, the model's own or that of IMAGEFLEET_MODEL_CHECKER; none is stored.

    Fault: the prompt, or the checker; the `warnings` of the result say which images.
    Remedy: Change the prompt or seed, or ask for the others by their seeds. IMAGEFLEET_MODEL_FLAGGED=warn keeps it.
    """

    code = "image_flagged"

    def __init__(self, warnings: Sequence[JobWarning]) -> None:
        flagged = [each.message for each in warnings if each.code == WarningCode.IMAGE_FLAGGED]
        super().__init__(f"{'; '.join(flagged)}. Change the prompt, or ask for other seeds")
        self.warnings = tuple(warnings)


class CheckerFailed(WorkerError):
    """The function of IMAGEFLEET_MODEL_CHECKER failed, or said nothing that can be read; no image is stored unchecked.

    Fault: the checker.
    Remedy: Read the message, mend the checker, and submit the job again under a new id.
    """

    code = "checker_failed"


class SigningFailed(WorkerError):
    """An image could not be signed with the key of IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE; none is stored unsigned.

    Fault: the certificate, which has ended since the worker began, or the file.
    Remedy: Renew the certificate (docs/provenance.md), start the workers again, and submit the job under a new id.
    """

    code = "signing_failed"


class GenerationFailed(WorkerError):
    """The pipeline raised an error for this job; the message has its text.

    Fault: the job or the model.
    Remedy: Read the message and the worker's log. Another job may succeed; this one fails again if nothing changes.
    """

    code = "generation_failed"


class DeviceFault(WorkerError):
    """The device is in a state that only a new process can leave; the worker ends with 74.

    Fault: the device, its driver, or an error in native code.
    Remedy: Nothing for the job: it is delivered again, alone. Look at the device if it happens again.
    """

    code = "device_fault"
    retryable = True


class GroupBroken(WorkerError):
    """A rank of the device group has died or hangs; the whole group ends with 75.

    Fault: a device, a process of the group, or the network between them.
    Remedy: Nothing for the job: it is delivered again. Read the logs of all ranks.
    """

    code = "group_broken"
    retryable = True


class StorageUnavailable(WorkerError):
    """S3 does not answer, or answers that it cannot now.

    Fault: S3 or the network.
    Remedy: Check S3, and submit the job again under a new id. Uploads are repeated for IMAGEFLEET_WORKER_RETRY_FOR_S.
    """

    code = "storage_unavailable"
    retryable = True


class StorageRefused(WorkerError):
    """S3 refuses: wrong credentials, missing permissions, or no such bucket; a worker that starts ends with 72.

    Fault: the storage settings or the bucket's policy.
    Remedy: Correct them (docs/security.md has the policy), then submit the job again under a new id.
    """

    code = "storage_refused"


class SpoolDamaged(WorkerError):
    """Image files that waited on a worker's disk for S3 are gone or changed; the next attempt makes the images again.

    Fault: the disk under IMAGEFLEET_STORAGE_SPOOL_FOLDER, or whoever cleans it up.
    Remedy: Name a folder that nobody else writes to, and submit the job again under a new id.
    """

    code = "spool_damaged"
    retryable = True


class Poisoned(WorkerError):
    """IMAGEFLEET_LEASE_MAX_DELIVERIES workers were lost with this job on their devices, the last with no other job.

    Fault: the job, if it kills its worker; else lost machines.
    Remedy: `imagefleet dead show ID` says what is known of each worker. `imagefleet dead replay ID` runs the job again.
    """

    code = "poisoned"


class LocalUnavailable(WorkerError):
    """A part of `imagefleet up` cannot be started or has ended.

    Fault: this machine: a port that is taken, a missing package, or the model.
    Remedy: Read the message; it names the part and the end of its log.
    """

    code = "local_unavailable"
