"""How the process of a worker ends: its exit codes, and the errors that lead to them."""

from enum import IntEnum

from imagefleet.errors import ImageFleetError, SettingsInvalid
from imagefleet_worker.errors import GroupBroken, ModelUnavailable, StorageRefused, StorageUnavailable


class ExitCode(IntEnum):
    """The exit code of a worker process; shells and Kubernetes show the number."""

    OK = 0
    SETTINGS_INVALID = 78
    INTERNAL_ERROR = 70
    REDIS_UNAVAILABLE = 69
    MODEL_UNAVAILABLE = 71
    STORAGE_UNAVAILABLE = 72
    DEVICE_HUNG = 73
    DEVICE_FAULT = 74
    DEVICE_GROUP_BROKEN = 75


#: How a worker process ends that cannot be opened because of such an error.
EXIT_CODES: dict[type[ImageFleetError], ExitCode] = {
    SettingsInvalid: ExitCode.SETTINGS_INVALID,
    ModelUnavailable: ExitCode.MODEL_UNAVAILABLE,
    **dict.fromkeys((StorageUnavailable, StorageRefused), ExitCode.STORAGE_UNAVAILABLE),
    GroupBroken: ExitCode.DEVICE_GROUP_BROKEN,
}
