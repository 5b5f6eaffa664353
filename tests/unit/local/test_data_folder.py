"""The folder of `imagefleet up`."""

from pathlib import Path

import pytest

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.local.data_folder import data_folder


def test_one_fleet_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    """Two Redis servers on one append-only file lose jobs that were accepted."""
    with data_folder(tmp_path / "data") as path:
        with pytest.raises(SettingsInvalid, match="another `imagefleet up` uses"):
            enter(path)
        assert path.is_dir()
    enter(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsInvalid, match=r"--data .*file: File exists; name a folder"):
        enter(tmp_path / "file")


def enter(path: Path) -> None:
    """Have the folder to oneself for a moment."""
    with data_folder(path):
        pass
