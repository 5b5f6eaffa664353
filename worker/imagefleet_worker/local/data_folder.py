"""The folder of `imagefleet up`, for one fleet at a time: two Redis servers would write over each other's files."""

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from imagefleet.errors import SettingsInvalid


@contextmanager
def data_folder(path: Path) -> Generator[Path]:
    """Make the folder *path* if necessary, and keep other fleets out of it while the block runs.

    Raises:
        SettingsInvalid: If it cannot be written to, or another fleet uses it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
        lock = (path / "lock").open("w")  # stays there: whoever removed it could lock a second one
    except OSError as error:
        raise SettingsInvalid(f"--data {path}: {error.strerror}; name a folder that this user may write to") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsInvalid(
                f"--data {path}: another `imagefleet up` uses this folder; stop it, or name another folder"
            ) from error
        yield path
