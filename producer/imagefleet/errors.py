"""Everything that can go wrong on the producer's side, each with a code and a sentence that says what to do.

The docstring of an error has its cause, then whose fault it is and what to do; docs/errors.md is made of them.
"""

import re
import shutil
import sys
import textwrap
from typing import ClassVar, Final


class ImageFleetError(Exception):
    """The base of all errors of this package."""

    #: Stable and machine-readable; the same codes stand in `JobResult.error.code`.
    code: ClassVar[str] = "error"

    @property
    def message(self) -> str:
        """The sentence, without the code."""
        return str(self.args[0]) if self.args else (type(self).__doc__ or self.code).partition("\n")[0]


class SettingsInvalid(ImageFleetError):
    """A setting, an `IMAGEFLEET_*` variable or an option of `celery worker` cannot be used; the message names it.

    A worker ends with 78.

    Fault: whoever sets the environment, or types the command.
    Remedy: Correct what the message names; `imagefleet-worker settings` shows those of a worker.
    """

    code = "settings_invalid"


class InvalidJob(ImageFleetError):
    """The job breaks the contract or a limit; the message names every bad field.

    Fault: the producer.
    Remedy: Change the fields that the message names. A job that is sent again unchanged fails again.
    """

    code = "invalid_job"


class NoWorker(ImageFleetError):
    """No worker has ever served the model of the job, so that it would wait for ever; nothing was queued.

    Fault: the producer, or the fleet, which has no worker of this model.
    Remedy: Correct the model's name, or start a worker for it. Without `require_worker` the job is queued all the same.
    """

    code = "no_worker"

    def __init__(self, message: str = "", *, served: tuple[str, ...] = ()) -> None:
        super().__init__(*[message] if message else [])
        #: The models that workers serve or have served.
        self.served = served


class IdTaken(ImageFleetError):
    """Another job has this id: one that differs in more than priority, deadline, previews or presigned URLs.

    Fault: the producer.
    Remedy: Give each job an id of its own; send a job again unchanged. `accepted` has the ids of the jobs of the same
    call that were queued.
    """

    code = "id_taken"
    #: Ids of the jobs of the same call that were queued.
    accepted: tuple[str, ...] = ()


class QueueUnavailable(ImageFleetError):
    """Redis cannot be reached or refuses the command; it is not known whether anything was queued.

    Fault: Redis, the network or the URL.
    Remedy: Check IMAGEFLEET_REDIS_URL and Redis. Submit again with the same job id: it is queued once at most.
    """

    code = "queue_unavailable"


class QueueFull(ImageFleetError):
    """The queue already holds as many jobs as it may.

    Fault: nobody; the producer's own limit (IMAGEFLEET_MAX_QUEUED) is reached.
    Remedy: Submit again later, or add workers. `accepted` has the ids of the jobs of the same call that were queued.
    """

    code = "queue_full"
    #: Ids of the jobs of the same call that were queued before the queue was full.
    accepted: tuple[str, ...] = ()


class JobNotFound(ImageFleetError):
    """There is no record of this job.

    Fault: the caller, or Redis if it lost its data.
    Remedy: Check the id. A record is deleted IMAGEFLEET_REDIS_RESULT_TTL_S after the end of its job. A message that no
    client submitted has no record before a worker claims it.
    """

    code = "job_not_found"


class ResultTimeout(ImageFleetError):
    """The job had not ended after the timeout of the caller; it goes on.

    Fault: nobody.
    Remedy: Wait again with the same id, or cancel the job.
    """

    code = "result_timeout"


class JobFailed(ImageFleetError):
    """The job ended without images; raised by `JobResult.raise_for_status` and passed to Celery's `link_error`.

    Fault: see the code of the job's error, which the message begins with.
    Remedy: See the code of the job's error.
    """

    code = "job_failed"


class LinkNotSigned(ImageFleetError):
    """A link to an image cannot be signed: boto3, credentials or a usable setting are missing, or it is no image's URI.

    Fault: whoever runs the process that signs.
    Remedy: `pip install 'imagefleet[s3]'`, let boto3 find credentials that may read the bucket, and set the same
    IMAGEFLEET_STORAGE_* as for workers.
    """

    code = "link_not_signed"


class InvalidSignature(ImageFleetError):
    """A webhook has no valid signature: another secret, a changed body, a missing header or an old timestamp.

    Fault: the sender of the request, or a receiver that has another secret.
    Remedy: Answer 400. If your own webhooks are refused: compare the secret with IMAGEFLEET_WEBHOOK_SECRETS, verify the
    raw body, and check both clocks (five minutes are allowed).
    """

    code = "invalid_signature"


#: What redis-py writes around the reason: the command of a pipeline, and the script in which it happened.
_NOISE: Final = (
    re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL),
    re.compile(r"^(ERR )?Error (running|compiling) script \(.*?\): ?(@\w+: ?\d+: )?"),
    re.compile(r"\s*script: [0-9a-f]{40}, on @?\w+:\d+\.?"),
)


def reason_of(error: BaseException) -> str:
    """What *error*, of some library, says in its first line, as a part of a sentence; its type if it says nothing."""
    text = str(error).strip()
    for noise in _NOISE:
        text = noise.sub("", text)
    text = text.partition("\n")[0].strip().rstrip(".")
    return type(error).__name__ if text in ("", "None") else text


def described(error: BaseException) -> str:
    """The type of *error* and what it says."""
    kind, reason = type(error).__name__, reason_of(error)
    return kind if reason == kind else f"{kind}: {reason}"


def complain(sentence: str) -> None:
    """Say *sentence* on standard error, as a command does; a terminal gets lines that end between words."""
    said = f"imagefleet: {sentence}"
    sys.stderr.write((wrapped(said, shutil.get_terminal_size().columns) if sys.stderr.isatty() else said) + "\n")


def wrapped(text: str, width: int) -> str:
    """*text* in lines of at most *width*, broken between words: paths, URLs and names stay in one piece."""
    wrap = textwrap.TextWrapper(max(1, width), break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(map(wrap, text.splitlines()))
