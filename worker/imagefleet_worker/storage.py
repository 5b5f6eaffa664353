"""Storage: artifacts and manifests in a bucket, over any S3 API."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from pydantic import JsonValue, ValidationError

from imagefleet.results import Artifact, JobResult
from imagefleet_worker.captions import caption
from imagefleet_worker.encoding import EncodedImage
from imagefleet_worker.errors import StorageRefused, StorageUnavailable
from imagefleet_worker.refusals import LOST_RACE, MISSING, code_of, explained
from imagefleet_worker.settings import StorageSettings

log = structlog.get_logger(__name__)

#: S3 keeps 2 kB of metadata with an object; the names and the hash take some of it.
_METADATA_BYTES: Final = 1500
#: Connections kept open; further ones are made, and closed after use.
_CONNECTIONS: Final = 32


class Storage:
    """One bucket. Safe to use from many threads, which share one client and its connections."""

    def __init__(self, settings: StorageSettings) -> None:
        """Find the credentials and make the client; nothing is sent yet.

        Raises:
            StorageRefused: where the settings or boto3's own configuration make no client.
        """
        self._settings = settings
        if not settings.bucket:
            raise StorageRefused("no bucket is named; set IMAGEFLEET_STORAGE_BUCKET")
        if settings.endpoint_url and not settings.endpoint_url.startswith(("http://", "https://")):
            raise StorageRefused(f"IMAGEFLEET_STORAGE_ENDPOINT_URL is no http or https URL: {settings.endpoint_url}")
        try:
            self._client = _client(settings)
        except (BotoCoreError, ValueError) as error:
            raise StorageRefused(f"the S3 settings cannot be used: {error}") from error

    def check(self) -> bool:
        """Do with a small object whatever jobs will do with theirs, and remove it.

        Says whether the server honours `If-None-Match`, without which two runs of a job may both write its manifest.

        Raises:
            StorageRefused: where the bucket is not there, or a permission is missing; the sentence says which.
            StorageUnavailable: where nothing answers.
        """
        bucket = self._settings.bucket
        key = f"{self._prefix()}.imagefleet/{uuid.uuid4().hex}"
        self._put_once(key, b"imagefleet", what=f"cannot write to the bucket {bucket!r}")
        is_exclusive = not self._put_once(key, b"imagefleet", what=f"cannot write to the bucket {bucket!r}")
        if not is_exclusive:
            log.warning("this S3 ignores If-None-Match: two runs of one job may both write its manifest", bucket=bucket)
        self._get(key, what=f"cannot read from the bucket {bucket!r}")
        self._get(f"{key}.none", what=f"cannot see what is missing in the bucket {bucket!r} (s3:ListBucket lets us)")
        self._delete(key, what=f"cannot remove from the bucket {bucket!r}")
        return is_exclusive

    def upload(
        self, job_id: str, index: int, image: EncodedImage, *, parameters: Mapping[str, JsonValue], presign: bool
    ) -> Artifact:
        """Store one image under its job's key and say where it is; what was there before is replaced.

        The object's metadata are `sha256`, `job-id` and `parameters` (ASCII JSON, its prompt cut where it is long; the
        whole of it is inside the image).

        Raises:
            StorageUnavailable: once all tries (`StorageSettings.attempts`) are used up.
            StorageRefused: where trying again is of no use.
        """
        key = f"{self._prefix()}{job_id}/{index}.{image.format}"
        described = {**parameters, "seed": image.seed}
        with explained("the upload failed", at=self._where):
            self._client.put_object(
                Bucket=self._settings.bucket,
                Key=key,
                Body=image.data,
                ContentType=image.format.media_type,
                Metadata={"sha256": image.sha256, "job-id": job_id, "parameters": _as_metadata(described)},
            )
        uri = f"s3://{self._settings.bucket}/{key}"
        return Artifact(
            uri=uri,
            url=self.presign(uri) if presign else None,
            media_type=image.format.media_type,
            format=image.format,
            width=image.width,
            height=image.height,
            seed=image.seed,
            sha256=image.sha256,
            size_bytes=len(image.data),
        )

    def read_manifest(self, job_id: str) -> JobResult | None:
        """The manifest of a job, or None where there is none yet.

        Raises:
            StorageUnavailable: as `upload`.
            StorageRefused: as `upload`, and where what lies there is no manifest.
        """
        key = self._manifest_key(job_id)
        body = self._get(key, what="the manifest cannot be read")
        try:
            return None if body is None else JobResult.model_validate_json(body)
        except ValidationError as error:
            raise StorageRefused(f"s3://{self._settings.bucket}/{key} is no manifest; remove it") from error

    def write_manifest(self, result: JobResult) -> JobResult:
        """Write the manifest unless there is one, and return what the manifest says.

        The condition (`If-None-Match: *`) makes one winner of attempts that end at the same moment.

        Raises:
            StorageUnavailable: as `upload`, and where a concurrent write made neither of us the winner.
            StorageRefused: as `upload`.
        """
        body = result.model_dump_json().encode()
        if self._put_once(self._manifest_key(result.id), body, what="the manifest cannot be written"):
            return result
        stored = self.read_manifest(result.id)
        if stored is None:
            raise StorageUnavailable("the manifest cannot be written: S3 reports another writer, but holds no manifest")
        return stored

    def presign(self, uri: str) -> str:
        """A URL that downloads *uri* without credentials, for as long as the settings say.

        Raises:
            StorageRefused: where there are no credentials to sign with.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with explained("the URL cannot be signed", at=self._where):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=self._settings.presign_expires_s
            )

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects by their `s3://` URIs; those that are not there are no error.

        Raises:
            StorageUnavailable: as `upload`; the objects before the failure are gone.
            StorageRefused: as `upload`.
        """
        for uri in uris:
            key = uri.removeprefix(f"s3://{self._settings.bucket}/")
            self._delete(key, what="the artifact cannot be removed")

    @property
    def endpoint_url(self) -> str:
        """Where requests go, whether it was set or is Amazon's."""
        return str(self._client.meta.endpoint_url)

    @property
    def _where(self) -> str:
        return self._settings.endpoint_url or "S3"

    def _prefix(self) -> str:
        prefix = self._settings.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    def _manifest_key(self, job_id: str) -> str:
        return f"{self._prefix()}{job_id}/result.json"

    def _put_once(self, key: str, body: bytes, *, what: str) -> bool:
        """Write an object unless there is one, and say whether it was written."""
        try:
            with explained(what, at=self._where):
                self._client.put_object(
                    Bucket=self._settings.bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
        except (StorageRefused, StorageUnavailable) as error:
            if code_of(error.__cause__) not in LOST_RACE:
                raise
            return False
        return True

    def _get(self, key: str, *, what: str) -> bytes | None:
        try:
            with explained(what, at=self._where):
                return self._client.get_object(Bucket=self._settings.bucket, Key=key)["Body"].read()
        except StorageRefused as error:
            if code_of(error.__cause__) not in MISSING:
                raise
            return None

    def _delete(self, key: str, *, what: str) -> None:
        with explained(what, at=self._where):
            self._client.delete_object(Bucket=self._settings.bucket, Key=key)


def _client(settings: StorageSettings) -> Any:
    config = Config(
        signature_version="s3v4",  # the default for presigned URLs is older, and refused by newer regions
        connect_timeout=settings.timeout_s,
        read_timeout=settings.timeout_s,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        max_pool_connections=_CONNECTIONS,
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        request_checksum_calculation="when_required",  # many servers that are not Amazon's know no others
        response_checksum_validation="when_required",
    )
    # A session of its own: boto3's default one is shared, and not made for threads.
    return Session().client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config)


def _as_metadata(parameters: Mapping[str, JsonValue]) -> str:
    text = caption(parameters, most=_METADATA_BYTES, weigh=lambda text: len(_as_header(text)), only_ascii=True)
    return _as_header(text)


def _as_header(text: str) -> str:
    # A header's signature covers runs of spaces as one, and not every server knows that; JSON can say them otherwise.
    return text.replace("  ", " \\u0020")
