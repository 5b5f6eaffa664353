"""Storage: artifacts and manifests in a bucket, over any S3 API."""

import json
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import JsonValue

from imagefleet.results import Artifact, JobResult
from imagefleet_worker.encoding import EncodedImage
from imagefleet_worker.errors import StorageRefused, StorageUnavailable
from imagefleet_worker.settings import StorageSettings

#: S3 keeps 2 kB of metadata with an object; the names take some of it.
_METADATA_BYTES: Final = 1500
_LOST_RACE: Final = ("PreconditionFailed", "ConditionalRequestConflict")
_MISSING: Final = ("NoSuchKey", "404")
_PASSING: Final = ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "503", "500")


class Storage:
    """One bucket; safe to use from many threads."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        try:
            self._client = _client(settings)
        except (BotoCoreError, ValueError) as error:
            raise StorageRefused(f"the S3 settings cannot be used: {error}") from error

    def check(self) -> None:
        """Write, read and remove a small object.

        Raises:
            StorageRefused: where the bucket is not there or not ours to write to.
            StorageUnavailable: where nothing answers.
        """
        key = f"{self._prefix()}.imagefleet/{uuid.uuid4().hex}"
        with self._explained(f"cannot write to the bucket {self._settings.bucket!r}"):
            self._client.put_object(Bucket=self._settings.bucket, Key=key, Body=b"imagefleet")
            self._client.delete_object(Bucket=self._settings.bucket, Key=key)

    def upload(
        self, job_id: str, index: int, image: EncodedImage, *, parameters: Mapping[str, JsonValue], presign: bool
    ) -> Artifact:
        """Store one image under its job's key and say where it is.

        Raises:
            StorageUnavailable: once boto3's own retries are used up.
            StorageRefused: where trying again is of no use.
        """
        key = f"{self._prefix()}{job_id}/{index}.{image.format}"
        described = {**parameters, "seed": image.seed}
        with self._explained("the upload failed"):
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
        """The manifest of a job, or None where there is none yet."""
        try:
            with self._explained("the manifest cannot be read"):
                answer = self._client.get_object(Bucket=self._settings.bucket, Key=self._manifest_key(job_id))
                return JobResult.model_validate_json(answer["Body"].read())
        except StorageRefused as error:
            if isinstance(error.__cause__, ClientError) and _code(error.__cause__) in _MISSING:
                return None
            raise

    def write_manifest(self, result: JobResult) -> JobResult:
        """Write the manifest unless there is one, and return what the manifest says.

        The condition (`If-None-Match: *`) makes one winner of attempts that end at the same moment.
        """
        try:
            with self._explained("the manifest cannot be written"):
                self._client.put_object(
                    Bucket=self._settings.bucket,
                    Key=self._manifest_key(result.id),
                    Body=result.model_dump_json().encode(),
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
        except StorageRefused as error:
            if not (isinstance(error.__cause__, ClientError) and _code(error.__cause__) in _LOST_RACE):
                raise
            return self.read_manifest(result.id) or result
        return result

    def presign(self, uri: str) -> str:
        """A URL that downloads *uri* without credentials, for as long as the settings say."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=self._settings.presign_expires_s
        )

    def _prefix(self) -> str:
        prefix = self._settings.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    def _manifest_key(self, job_id: str) -> str:
        return f"{self._prefix()}{job_id}/result.json"

    @contextmanager
    def _explained(self, what: str) -> Generator[None]:
        try:
            yield
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = _code(error)
            sentence = f"{what}: {code} {error.response.get('Error', {}).get('Message', '')}".rstrip()
            kind = StorageUnavailable if status >= 500 or code in _PASSING else StorageRefused  # noqa: PLR2004  # HTTP
            raise kind(sentence) from error
        except BotoCoreError as error:
            where = self._settings.endpoint_url or "S3"
            kind = StorageRefused if "redential" in str(error) else StorageUnavailable
            raise kind(f"{what}: {where}: {error}") from error


def _client(settings: StorageSettings) -> Any:
    config = Config(
        connect_timeout=settings.timeout_s,
        read_timeout=settings.timeout_s,
        retries={"mode": "standard", "max_attempts": settings.attempts},
        max_pool_connections=32,
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        request_checksum_calculation="when_required",  # many servers that are not Amazon's know no others
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _as_metadata(parameters: Mapping[str, JsonValue]) -> str:
    """ASCII JSON that fits; a prompt that does not is cut, the whole of it is inside the image and the manifest."""
    text = json.dumps(parameters, separators=(",", ":"))
    if len(text) <= _METADATA_BYTES:
        return text
    spare = max(0, _METADATA_BYTES - len(json.dumps({**parameters, "prompt": "", "negative_prompt": None})) - 4)
    cut = {**parameters, "negative_prompt": None, "prompt": ascii(parameters.get("prompt", ""))[1:-1][:spare] + "..."}
    return json.dumps(cut, separators=(",", ":"))[:_METADATA_BYTES]
