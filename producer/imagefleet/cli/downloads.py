"""Downloads the images of results by their presigned URLs, and checks their hashes."""

import hashlib
import re
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import httpx

from imagefleet.contract.results import Artifact, JobResult
from imagefleet.errors import ImageFleetError, InvalidJob

_AT_ONCE: Final = 8
_SLUG_CHARS: Final = 40
_EXTENSIONS: Final = {"jpeg": "jpg"}


def make_folder(folder: Path) -> None:
    """Make *folder* if necessary, before a job is queued whose images could not be stored.

    Raises:
        InvalidJob: If it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InvalidJob(f"--out {folder}: {error.strerror}; name a folder that this user may write to") from error


class DownloadFailed(ImageFleetError):
    """An image could not be downloaded, or its hash is not that of the result."""

    code: ClassVar[str] = "download_failed"


@dataclass(frozen=True, slots=True)
class Picture:
    """A downloaded image."""

    #: The number of its job, counted from 1.
    number: int
    path: Path
    prompt: str
    artifact: Artifact
    #: Codes of the warnings that are about it.
    warnings: tuple[str, ...] = ()


class Downloads:
    """Stores images in a folder as `<nnn>-<slug>-<seed>.<ext>`, while the caller waits for further results.

    Images are downloaded at once, because presigned URLs expire.
    """

    def __init__(self, folder: Path) -> None:
        """Store into *folder*, which is created if necessary."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._web = httpx.Client(transport=httpx.HTTPTransport(retries=2), timeout=30, follow_redirects=True)
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._fetching: list[tuple[Picture, Future[None]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        self._web.close()

    def add(self, result: JobResult, *, number: int, prompt: str) -> None:
        """Begin to download the images of *result*; their file names begin with *number*."""
        for index, artifact in enumerate(result.artifacts):
            extension = _EXTENSIONS.get(artifact.format, artifact.format)
            path = self._folder / f"{number:03}-{slug(prompt)}-{artifact.seed}.{extension}"
            codes = tuple(dict.fromkeys(each.code for each in result.warnings if each.image in (None, index)))
            picture = Picture(number, path, prompt, artifact, codes)
            self._fetching.append((picture, self._pool.submit(_fetch, self._web, picture)))

    def finish(self) -> tuple[list[Picture], list[str]]:
        """Wait for all downloads; return the images by number, and an error message for each that failed."""
        problems = [str(error) for _, fetched in self._fetching if (error := fetched.exception())]
        stored = [picture for picture, fetched in self._fetching if fetched.exception() is None]
        return sorted(stored, key=lambda picture: picture.number), problems


def slug(prompt: str) -> str:
    """*prompt* as a part of a file name: lower-case letters and digits of any alphabet, with hyphens."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return words[:_SLUG_CHARS].rstrip("-") or "image"


def _fetch(web: httpx.Client, picture: Picture) -> None:
    artifact = picture.artifact
    if artifact.url is None:
        raise DownloadFailed(f"{artifact.uri}: the result has no presigned URL; submit with --presign")
    try:
        response = web.get(artifact.url).raise_for_status()
    except httpx.HTTPError as error:
        # The URL of an HTTPStatusError is a secret for as long as it is valid.
        reason = f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else str(error)
        raise DownloadFailed(
            f"{artifact.uri}: {reason}; try again, or ask for a new link: imagefleet url ID"
        ) from error
    if hashlib.sha256(response.content).hexdigest() != artifact.sha256:
        raise DownloadFailed(f"{artifact.uri}: the file's sha256 is not the one in the result; download it again")
    picture.path.write_bytes(response.content)
