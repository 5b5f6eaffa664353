"""The command line of a worker of this package: written once, for all that start one."""

import sys
from collections.abc import Sequence
from typing import Final

#: The module of the Celery app.
APP: Final = "imagefleet_worker.app"


def celery_arguments(options: Sequence[str]) -> list[str]:
    """`sys.argv` of a process that becomes `celery worker` with *options*."""
    return ["celery", "-A", APP, "worker", *options]


def worker_command(name: str, options: Sequence[str]) -> list[str]:
    """The command that starts a worker called *name*, with *options* of `celery worker`."""
    return [sys.executable, "-m", *celery_arguments(["-n", f"{name}@%h", *options])]


def group_command(name: str, options: Sequence[str]) -> list[str]:
    """The command that starts a device group called *name*; *options* as for `worker_command`."""
    return [sys.executable, "-m", "imagefleet_worker.group", "-n", f"{name}@%h", *options]
