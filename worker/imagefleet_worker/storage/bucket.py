"""Storage: artifacts and manifests in a bucket.

The keys of an attempt's artifacts hold its own name, so no other attempt writes or removes them by chance. The manifest
has one key for all attempts, and is written once.
"""

import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final

import structlog
from pydantic import JsonValue, ValidationError

from imagefleet.contract.results import Artifact, JobResult
from imagefleet.links.url_signer import SignedUrl
from imagefleet_worker.errors import StorageRefused, StorageUnavailable
from imagefleet_worker.settings import StorageSettings
from imagefleet_worker.storage.image_files import EncodedImage
from imagefleet_worker.storage.objects import Objects
from imagefleet_worker.storage.parameters_text import fit_parameters
from imagefleet_worker.storage.tries import no_check

log = structlog.get_logger(__name__)

#: S3 keeps 2 kB of metadata with an object; the names and the hash take some of it.
_METADATA_BYTES: Final = 1500
_MANIFEST: Final = "result.json"
#: The content of the objects that checks write.
PROBE: Final = b"imagefleet"


class Storage:
    """One bucket. Safe to use from many threads."""

    def __init__(self, settings: StorageSettings) -> None:
        """Make the client; nothing is sent yet.

        Raises:
            SettingsInvalid: As `Objects`.
        """
        self._objects = Objects(settings)
        self._bucket = settings.bucket
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        #: Whether the server obeys `If-None-Match`, as far as `check` knows.
        self._is_exclusive = True

    def check(self) -> bool:
        """Write, read and remove a small object, as jobs do with theirs.

        Returns:
            Whether the server obeys `If-None-Match`. Without it two attempts at a job may both write its manifest.

        Raises:
            StorageRefused: If the bucket does not exist, or a permission is missing; the sentence says which.
            StorageUnavailable: If nothing answers.
        """
        bucket, objects = self._bucket, self._objects
        key = f"{self._prefix}.imagefleet/{uuid.uuid4().hex}"
        objects.put_once(key, PROBE, what=f"cannot write to the bucket {bucket!r}")
        again = objects.put_once(key, PROBE, what=f"cannot write to the bucket {bucket!r}")
        self._is_exclusive = not again
        if again:
            log.warning("this S3 ignores If-None-Match: two runs of one job may both write its manifest", bucket=bucket)
        objects.get(key, what=f"cannot read from the bucket {bucket!r}")
        objects.get(f"{key}.none", what=f"cannot see what is missing in the bucket {bucket!r} (s3:ListBucket lets us)")
        objects.delete(key, what=f"cannot remove from the bucket {bucket!r}")
        objects.find_region()
        return self._is_exclusive

    @contextmanager
    def probe(self) -> Generator[SignedUrl]:
        """A link to the object `PROBE`, which exists for as long as the block runs.

        Raises:
            StorageRefused, StorageUnavailable: As `upload`.
        """
        key = f"{self._prefix}.imagefleet/{uuid.uuid4().hex}"
        self._objects.find_region()
        self._objects.put_once(key, PROBE, what=f"cannot write to the bucket {self._bucket!r}")
        try:
            yield self._objects.presign(f"s3://{self._bucket}/{key}")
        finally:
            self._objects.delete(key, what=f"cannot remove from the bucket {self._bucket!r}")

    def artifact_for(self, job_id: str, index: int, image: EncodedImage, *, attempt: str) -> Artifact:
        """Where the image of the attempt with the unique name *attempt* goes: `<job id>/<index>-<attempt>.<format>`."""
        return Artifact(
            uri=f"s3://{self._bucket}/{self._folder(job_id)}{index}-{attempt}.{image.format}",
            media_type=image.format.media_type,
            format=image.format,
            width=image.width,
            height=image.height,
            seed=image.seed,
            sha256=image.sha256,
            size_bytes=len(image.data),
            labels=image.labels,
        )

    def upload(
        self,
        artifact: Artifact,
        body: bytes,
        *,
        parameters: Mapping[str, JsonValue],
        before: Callable[[], None] = no_check,
    ) -> None:
        """Store the file *body* where *artifact* says.

        The object's metadata are `sha256` and, unless there are none, `parameters` (ASCII JSON with a long prompt cut;
        the whole prompt is inside the image). Whoever downloads the image sees them. *before* is called before each
        try; what it raises ends the upload.

        Raises:
            StorageUnavailable: If all tries (`StorageSettings.attempts`) have failed.
            StorageRefused: If another try would not help.
        """
        described = {"parameters": _as_metadata({**parameters, "seed": artifact.seed})} if parameters else {}
        self._objects.put(
            self._key(artifact.uri),
            body,
            media_type=artifact.media_type,
            metadata={"sha256": artifact.sha256, **described},
            what="the upload failed",
            before=before,
        )

    def read_manifest(self, job_id: str) -> JobResult | None:
        """The manifest of a job, or None if there is none yet.

        Raises:
            StorageUnavailable: As `upload`.
            StorageRefused: As `upload`, and if the object is no manifest.
        """
        key = f"{self._folder(job_id)}{_MANIFEST}"
        body = self._objects.get(key, what="the manifest cannot be read")
        try:
            return None if body is None else JobResult.model_validate_json(body)
        except ValidationError as error:
            raise StorageRefused(f"s3://{self._bucket}/{key} is no manifest; remove it") from error

    def write_manifest(self, result: JobResult, *, before: Callable[[], None] = no_check) -> JobResult:
        """Write the manifest unless there is one, and return what the manifest says.

        The condition (`If-None-Match: *`) lets one of several attempts win that end at the same moment. A server that
        ignores it is asked for a manifest before. *before* is called before each try.

        Raises:
            StorageUnavailable: As `upload`, and if another write was in the way but left no manifest.
            StorageRefused: As `upload`.
        """
        if not self._is_exclusive and (stored := self.read_manifest(result.id)):
            return stored
        key, body = f"{self._folder(result.id)}{_MANIFEST}", result.model_dump_json().encode()
        if self._objects.put_once(key, body, what="the manifest cannot be written", before=before):
            return result
        stored = self.read_manifest(result.id)
        if stored is None:
            raise StorageUnavailable(
                "the manifest cannot be written: S3 reports another writer, but holds no manifest; check S3"
            )
        return stored

    def remove_unnamed(self, manifest: JobResult) -> None:
        """Remove the objects of a job that its *manifest* does not name: other attempts left them.

        On a server that ignores `If-None-Match` nothing is removed: another attempt may still put its own manifest in
        the place of this one.

        Raises:
            StorageUnavailable, StorageRefused: As `upload`; the objects before the failure are removed.
        """
        if not self._is_exclusive:
            return
        folder = self._folder(manifest.id)
        named = {self._key(artifact.uri) for artifact in manifest.artifacts} | {f"{folder}{_MANIFEST}"}
        for key in self._objects.keys(folder, what="the objects of the job cannot be listed"):
            if key not in named:
                self._objects.delete(key, what="what another attempt left cannot be removed")

    def presign(self, uri: str) -> SignedUrl:
        """A link that downloads *uri* without credentials, for `StorageSettings.presign_expires_s` at most.

        Raises:
            StorageRefused: If there are no credentials to sign with.
        """
        return self._objects.presign(uri)

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects by their `s3://` URIs; an object that does not exist is no error.

        Raises:
            StorageUnavailable: As `upload`; the objects before the failure are removed.
            StorageRefused: As `upload`.
        """
        for uri in uris:
            self._objects.delete(self._key(uri), what="the artifact cannot be removed")

    @property
    def endpoint_url(self) -> str:
        """The URL of the server, set or Amazon's."""
        return self._objects.endpoint_url

    def _folder(self, job_id: str) -> str:
        return f"{self._prefix}{job_id}/"

    def _key(self, uri: str) -> str:
        return uri.removeprefix(f"s3://{self._bucket}/")


def _as_metadata(parameters: Mapping[str, JsonValue]) -> str:
    text = fit_parameters(parameters, most=_METADATA_BYTES, weigh=lambda text: len(_as_header(text)), only_ascii=True)
    return _as_header(text)


def _as_header(text: str) -> str:
    # A header's signature counts several spaces as one, and not every server does that; so JSON escapes them.
    return text.replace("  ", " \\u0020")
