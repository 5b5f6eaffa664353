"""The spool: files on a real disk."""

import hashlib
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagefleet.contract.jobs import ImageFormat
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet_worker.errors import SpoolDamaged
from imagefleet_worker.storage.image_files import EncodedImage
from imagefleet_worker.storage.made_images import MadeImages
from imagefleet_worker.storage.spool import Spool, SpooledFiles


def made(job_id: str = "job:1", *, sizes: Sequence[int] = (100, 200), fingerprint: str = "f") -> MadeImages:
    contents = [bytes([seed]) * size for seed, size in enumerate(sizes)]
    files = [
        EncodedImage(data, hashlib.sha256(data).hexdigest(), width=64, height=32, seed=seed, format=ImageFormat.PNG)
        for seed, data in enumerate(contents)
    ]
    now = datetime(2031, 1, 1, tzinfo=UTC)
    result = JobResult(id=job_id, status=JobStatus.SUCCEEDED, finished_at=now, fingerprint=fingerprint)
    return MadeImages(result, files, {"prompt": "a dog"})


def anything(_: JobResult) -> bool:
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder, most_bytes=500)


def test_what_is_put_comes_back_file_by_file(spool: Spool) -> None:
    assert list(spool.put(made())) == list(made().files)


def test_nobody_else_may_read_it(spool: Spool, folder: Path) -> None:
    """The files show what users asked for."""
    files = spool.put(made())

    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, files.folder)] == [0o700, 0o700]


def test_it_is_full_from_so_many_bytes_on_and_says_when_there_is_room(folder: Path) -> None:
    told: list[str] = []
    spool = Spool(folder, most_bytes=500, on_room=lambda: told.append("room"))
    first, states = spool.put(made("a")), [spool.is_full]
    second = spool.put(made("b"))
    states.append(spool.is_full)

    spool.release(first, keep=False)

    assert [*states, spool.is_full, told] == [False, True, False, ["room"]]
    spool.release(second, keep=False)
    assert (list(folder.iterdir()), told) == ([], ["room"])


def test_another_process_takes_over_what_a_dead_one_left(spool: Spool, folder: Path) -> None:
    left = spool.put(made())

    taken = Spool(folder, most_bytes=500).take("job:1", accepts=anything)

    assert taken
    assert list(taken.files) == list(made().files)
    assert (taken.result, taken.parameters) == (made().result, made().parameters)
    with pytest.raises(SpoolDamaged):
        _ = left[0]


def test_files_that_are_kept_for_the_next_worker_do_not_count(spool: Spool) -> None:
    spool.release(spool.put(made(sizes=[600])), keep=True)

    assert not spool.is_full
    assert spool.take("job:1", accepts=anything)
    assert spool.is_full


def test_files_of_another_job_or_model_are_left_alone(spool: Spool) -> None:
    spool.put(made())

    assert spool.take("job:1", accepts=lambda result: result.fingerprint == "g") is None
    assert spool.take("job", accepts=anything) is None
    assert spool.take("job:1", accepts=lambda result: result.fingerprint == "f")


def test_a_write_that_fails_leaves_nothing(spool: Spool, folder: Path) -> None:
    """As on a full disk; here a name that is too long."""
    with pytest.raises(OSError, match="too long"):
        spool.put(made("j" * 300))

    assert list(folder.iterdir()) == []
    assert not spool.is_full


def test_broken_files_are_no_images(spool: Spool, folder: Path) -> None:
    files = spool.put(made())
    (files.folder / "made.json").write_text("{")

    assert spool.take("job:1", accepts=anything) is None


@pytest.mark.parametrize("content", [b"", bytes(199), bytes([1]) * 200 + b"x", bytes(200)])
def test_a_file_that_was_changed_is_no_image(spool: Spool, folder: Path, content: bytes) -> None:
    """A disk that is full or has lost its power leaves such files; the images are made again."""
    files = spool.put(made())
    (files.folder / "1").write_bytes(content)
    with pytest.raises(SpoolDamaged, match="is not what was written"):
        _ = files[1]
    assert spool.take("job:1", accepts=anything) is None
    assert list(folder.iterdir()) == []


def test_files_that_nobody_took_over_for_a_day_are_removed(spool: Spool, folder: Path) -> None:
    old, new = spool.put(made("old")), spool.put(made("new"))
    os.utime(old.folder, (0, 0))

    Spool(folder, most_bytes=500)

    assert list(folder.iterdir()) == [new.folder]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool", most_bytes=1)


def test_spooled_files_are_a_sequence(spool: Spool) -> None:
    files = spool.put(made())

    assert isinstance(files, SpooledFiles)
    assert (len(files), files.size_bytes, files[1:]) == (2, 300, list(made().files)[1:])
