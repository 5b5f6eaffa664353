"""How a command ends: the exit codes, and which error leads to which."""

from enum import IntEnum
from typing import Final

from imagefleet import errors
from imagefleet.settings import SettingsInvalid


class Exit(IntEnum):
    """Exit codes of every command; shells show the number."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    QUEUE_UNAVAILABLE = 3
    TIMEOUT = 4
    QUEUE_FULL = 5
    NOT_FOUND = 6
    INTERRUPTED = 130


HELP: Final = (
    "Exit codes: 0 all is well; 1 a job failed, was canceled or expired, or an image could not be downloaded; "
    "2 wrong usage, settings or job; 3 the queue is unavailable; 4 a job had not ended in time; 5 the queue is full; "
    "6 no such job or dead letter."
)

_EXITS: Final[dict[type[errors.ImageFleetError], Exit]] = {
    errors.InvalidJob: Exit.USAGE,
    SettingsInvalid: Exit.USAGE,
    errors.QueueUnavailable: Exit.QUEUE_UNAVAILABLE,
    errors.ResultTimeout: Exit.TIMEOUT,
    errors.QueueFull: Exit.QUEUE_FULL,
    errors.JobNotFound: Exit.NOT_FOUND,
}


def exit_for(error: errors.ImageFleetError) -> Exit:
    """The exit code that says *error*."""
    return next((code for kind, code in _EXITS.items() if isinstance(error, kind)), Exit.JOB_FAILED)
