"""The exit codes of commands, and the error that leads to each."""

from enum import IntEnum
from typing import Final

from imagefleet import errors


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    QUEUE_UNAVAILABLE = 3
    TIMEOUT = 4
    QUEUE_FULL = 5
    NOT_FOUND = 6
    NO_WORKER = 7
    SETTINGS_INVALID = 78
    INTERRUPTED = 130


HELP: Final = (
    "Exit codes: 0 success; 1 a job failed, was canceled or expired, or an image could not be downloaded; "
    "2 wrong usage or job; 3 Redis is unavailable; 4 a job did not end in time; 5 the queue is full; "
    "6 no such job or dead letter; 7 no worker serves the model; 78 a setting cannot be used, "
    "or a link cannot be signed; 130 interrupted, the jobs go on."
)

_EXIT_CODES: Final[dict[type[errors.ImageFleetError], ExitCode]] = {
    errors.InvalidJob: ExitCode.USAGE,
    errors.IdTaken: ExitCode.USAGE,
    errors.SettingsInvalid: ExitCode.SETTINGS_INVALID,
    errors.QueueUnavailable: ExitCode.QUEUE_UNAVAILABLE,
    errors.ResultTimeout: ExitCode.TIMEOUT,
    errors.QueueFull: ExitCode.QUEUE_FULL,
    errors.JobNotFound: ExitCode.NOT_FOUND,
    errors.NoWorker: ExitCode.NO_WORKER,
    errors.LinkNotSigned: ExitCode.SETTINGS_INVALID,
}


def exit_code_for(error: errors.ImageFleetError) -> ExitCode:
    """The exit code for *error*."""
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), ExitCode.JOB_FAILED)
