"""The spool: image files that wait on disk for S3.

Each job has a folder `<job id>~<unique name>` with its files and `made.json`. Workers of one machine share the spool's
folder: whoever runs the job next takes its files over, by renaming their folder.
"""

import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, overload

import structlog
from pydantic import BaseModel, JsonValue

from imagefleet.contract.jobs import ImageFormat
from imagefleet.contract.results import JobResult
from imagefleet.errors import reason_of
from imagefleet_worker.errors import SpoolDamaged, WorkerError
from imagefleet_worker.storage.image_files import EncodedImage
from imagefleet_worker.storage.made_images import MadeImages

log = structlog.get_logger(__name__)

#: Files of a process that has died, which no other worker has taken over, are removed after a day.
_ORPHAN_S: Final = 86_400
_ABOUT: Final = "made.json"


class _File(BaseModel):
    sha256: str
    width: int
    height: int
    seed: int
    format: ImageFormat
    size_bytes: int
    labels: dict[str, JsonValue] | None = None


class _About(BaseModel):
    """What `made.json` says."""

    result: JobResult
    parameters: dict[str, JsonValue]
    files: list[_File]


@dataclass(frozen=True)
class SpooledFiles(Sequence[EncodedImage]):
    """The files of one job on disk; each is read when it is asked for."""

    folder: Path
    about: tuple[_File, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(each.size_bytes for each in self.about)

    def __len__(self) -> int:
        return len(self.about)

    @overload
    def __getitem__(self, index: int) -> EncodedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[EncodedImage]: ...
    def __getitem__(self, index: int | slice) -> EncodedImage | Sequence[EncodedImage]:
        """The file of that index.

        Raises:
            SpoolDamaged: If it is not what was written, or is gone: another worker may have taken it over.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        about = self.about[index]
        try:
            data = (self.folder / str(index)).read_bytes()
        except OSError as error:
            raise SpoolDamaged(f"{self.folder / str(index)}: {reason_of(error)}; check this disk") from error
        if hashlib.sha256(data).hexdigest() != about.sha256:
            raise SpoolDamaged(f"{self.folder / str(index)} is not what was written; check this disk")
        return EncodedImage(data=data, **about.model_dump(exclude={"size_bytes"}))


class Spool:
    """The files of one process that wait on disk; safe to use from many threads."""

    def __init__(self, folder: Path, *, most_bytes: int, on_room: Callable[[], None] = lambda: None) -> None:
        """Keep files in *folder*, and call *on_room* when less than *most_bytes* wait again.

        Raises:
            OSError: If the folder cannot be made.
        """
        self._folder = folder
        self._most_bytes = most_bytes
        self._on_room = on_room
        self._lock = threading.Lock()
        self._bytes = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written to")
        self._remove_orphans()

    @property
    def is_full(self) -> bool:
        """Whether as many bytes wait as may."""
        with self._lock:
            return self._bytes >= self._most_bytes

    def put(self, made: MadeImages) -> SpooledFiles:
        """Write the files of *made* to disk.

        Raises:
            OSError: If that fails; nothing is left.
        """
        unfinished = self._folder / f".{uuid.uuid4().hex}"
        try:
            unfinished.mkdir(mode=0o700)
            about = _About(
                result=made.result,
                parameters=dict(made.parameters),
                files=[_described(file) for file in made.files],
            )
            for index, file in enumerate(made.files):
                _write(unfinished / str(index), file.data)
            _write(unfinished / _ABOUT, about.model_dump_json().encode())
            folder = unfinished.rename(self._new_folder(made.result.id))
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return self._count(SpooledFiles(folder, tuple(about.files)))

    def take(self, job_id: str, *, accepts: Callable[[JobResult], bool]) -> MadeImages | None:
        """The files of a job that an earlier attempt on this machine has left, if *accepts* says so of their result."""
        for found in sorted(self._folder.glob(f"{job_id}~*")):
            try:
                about = _About.model_validate_json((found / _ABOUT).read_bytes())
                if not accepts(about.result):
                    continue
                files = SpooledFiles(found.rename(self._new_folder(job_id)), tuple(about.files))
            except (OSError, ValueError) as error:  # another worker has taken them over, or they are broken
                log.warning("files of the spool are left alone", job_id=job_id, reason=reason_of(error))
                continue
            try:
                for _ in files:  # each is read, and compared with its hash
                    pass
            except WorkerError as error:
                log.warning("files of the spool are removed", job_id=job_id, reason=error.message)
                shutil.rmtree(files.folder, ignore_errors=True)
                continue
            return MadeImages(about.result, self._count(files), about.parameters)
        return None

    def release(self, files: SpooledFiles, *, keep: bool) -> None:
        """Give up *files*; with *keep* they stay on disk, for the worker that has the job now."""
        if not keep:
            shutil.rmtree(files.folder, ignore_errors=True)
        with self._lock:
            was_full = self._bytes >= self._most_bytes
            self._bytes -= files.size_bytes
            has_room = was_full and self._bytes < self._most_bytes
        if has_room:
            self._on_room()

    def _count(self, files: SpooledFiles) -> SpooledFiles:
        with self._lock:
            self._bytes += files.size_bytes
        return files

    def _new_folder(self, job_id: str) -> Path:
        return self._folder / f"{job_id}~{uuid.uuid4().hex[:12]}"

    def _remove_orphans(self) -> None:
        for each in self._folder.iterdir():
            try:
                is_old = time.time() - each.stat().st_mtime > _ORPHAN_S
            except OSError:
                continue
            if is_old:
                shutil.rmtree(each, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    """Write a file that survives a crash of the machine."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _described(file: EncodedImage) -> _File:
    return _File(
        sha256=file.sha256,
        width=file.width,
        height=file.height,
        seed=file.seed,
        format=file.format,
        size_bytes=len(file.data),
        labels=file.labels,
    )
