"""Everything that can go wrong on the producer's side, each with a code and a sentence that says what to do."""

from typing import ClassVar


class ImageFleetError(Exception):
    """The base of every error that this package raises on purpose."""

    #: Stable and machine-readable; the same codes stand in `JobResult.error.code`.
    code: ClassVar[str] = "error"

    @property
    def message(self) -> str:
        """The sentence, without the code."""
        return str(self.args[0]) if self.args else type(self).__doc__ or self.code


class InvalidJob(ImageFleetError):
    """The job breaks the contract or a limit; the message names every bad field."""

    code = "invalid_job"


class QueueUnavailable(ImageFleetError):
    """Redis cannot be reached or refuses the command; nothing is known to have been queued."""

    code = "queue_unavailable"


class QueueFull(ImageFleetError):
    """The queue already holds as many jobs as it may; submit again later."""

    code = "queue_full"
    #: Ids of the jobs of the same call that were queued before the queue was full.
    accepted: tuple[str, ...] = ()


class JobNotFound(ImageFleetError):
    """No record of this job: never submitted by a client, not yet claimed, or expired."""

    code = "job_not_found"


class ResultTimeout(ImageFleetError):
    """The job had not ended when the caller's patience did; it goes on."""

    code = "result_timeout"


class JobFailed(ImageFleetError):
    """The job ended without images; raised by `JobResult.raise_for_status` and seen by Celery's `link_error`."""

    code = "job_failed"


class InvalidSignature(ImageFleetError):
    """A webhook that was not signed with the shared secret, or too long ago."""

    code = "invalid_signature"
