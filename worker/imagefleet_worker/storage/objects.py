"""Objects: what lies in a bucket by its key, over any S3 API."""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

import structlog
from boto3 import __version__ as boto3_version
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from imagefleet import __version__
from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet.links.url_signer import SignedUrl, UrlSigner, region_of
from imagefleet_worker.errors import StorageRefused, StorageUnavailable
from imagefleet_worker.settings import StorageSettings
from imagefleet_worker.storage.s3_errors import LOST_RACE, MISSING, code_of, translating_errors
from imagefleet_worker.storage.tries import no_check, with_tries

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Connections kept open; further ones are made, and closed after use.
_CONNECTIONS: Final = 32
#: Bytes up to which a body is sent without asking.
_SMALL_BODY: Final = 2**20
_USER_AGENT: Final = f"imagefleet/{__version__} boto3/{boto3_version}"


class Objects:
    """The objects of one bucket. Safe to use from many threads, which share one client and its connections.

    Each method raises StorageUnavailable if all tries (`StorageSettings.attempts`) have failed, and StorageRefused if
    another try would not help. The sentence begins with its argument *what*.
    """

    def __init__(self, settings: StorageSettings) -> None:
        """Find the credentials and make the client; nothing is sent yet.

        Raises:
            SettingsInvalid: If the settings or boto3's own configuration are invalid.
        """
        if not settings.bucket:
            raise SettingsInvalid("no bucket is named; set IMAGEFLEET_STORAGE_BUCKET")
        if settings.endpoint_url and not settings.endpoint_url.startswith(("http://", "https://")):
            raise SettingsInvalid(
                f"IMAGEFLEET_STORAGE_ENDPOINT_URL is no http or https URL: {settings.endpoint_url}; correct it"
            )
        if settings.public_url and not settings.public_url.startswith(("http://", "https://")):
            raise SettingsInvalid(
                f"IMAGEFLEET_STORAGE_PUBLIC_URL is no http or https URL: {settings.public_url}; correct it"
            )
        self._settings = settings
        self._bucket = settings.bucket
        # boto3's default session is shared, and not safe to use from many threads.
        self._session = Session()
        self._use_region(settings.region)

    @property
    def endpoint_url(self) -> str:
        """The URL of the server, set or Amazon's."""
        return str(self._client.meta.endpoint_url)

    def find_region(self) -> None:
        """Ask where the bucket is, and sign for that region from now on; a server that does not say so changes nothing.

        Requests find their way by themselves, but a link that is signed for another region is refused.
        """
        if self._settings.region and self._settings.endpoint_url:  # what a server of one's own says may be a default
            return
        region = region_of(self._client, self._bucket)
        if region and region != self._client.meta.region_name:
            log.info("links are signed for the bucket's own region", bucket=self._bucket, region=region)
            self._use_region(region)

    def put(
        self,
        key: str,
        body: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str],
        what: str,
        before: Callable[[], None] = no_check,
    ) -> None:
        """Write an object, in place of what was there; *before* is called before each try."""

        def put() -> None:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=media_type, Metadata=dict(metadata)
            )

        self._try(put, what=what, before=before)

    def put_once(self, key: str, body: bytes, *, what: str, before: Callable[[], None] = no_check) -> bool:
        """Write a JSON object unless there is one (`If-None-Match: *`); whether it was written."""

        def put() -> None:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )

        try:
            self._try(put, what=what, before=before)
        except (StorageRefused, StorageUnavailable) as error:
            if code_of(error.__cause__) not in LOST_RACE:
                raise
            return False
        return True

    def get(self, key: str, *, what: str) -> bytes | None:
        """The content of an object; None if there is none."""

        def get() -> bytes:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

        try:
            return self._try(get, what=what)
        except StorageRefused as error:
            if code_of(error.__cause__) not in MISSING:
                raise
            return None

    def keys(self, prefix: str, *, what: str) -> list[str]:
        """The keys that begin with *prefix*."""

        def pages() -> Iterator[Any]:
            paginator = self._client.get_paginator("list_objects_v2")
            return iter(paginator.paginate(Bucket=self._bucket, Prefix=prefix))

        return self._try(lambda: [each["Key"] for page in pages() for each in page.get("Contents", [])], what=what)

    def delete(self, key: str, *, what: str) -> None:
        """Remove an object; one that does not exist is no error."""
        self._try(lambda: self._client.delete_object(Bucket=self._bucket, Key=key), what=what)

    def presign(self, uri: str) -> SignedUrl:
        """A link that downloads `s3://bucket/key` without credentials, at `StorageSettings.public_url` if it is set."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with translating_errors("the URL cannot be signed", at=self._where):
            return self._signer.sign(bucket, key)

    @property
    def _where(self) -> str:
        return self._settings.endpoint_url or "S3"

    def _use_region(self, region: str | None) -> None:
        settings = self._settings
        try:
            self._client = _client(self._session, settings, endpoint_url=settings.endpoint_url, region=region)
            public = self._client
            if settings.public_url:
                public = _client(self._session, settings, endpoint_url=settings.public_url, region=region)
        except (BotoCoreError, ValueError) as error:
            raise SettingsInvalid(
                f"the S3 settings cannot be used: {reason_of(error)}; correct IMAGEFLEET_STORAGE_*"
            ) from error
        self._signer = UrlSigner(public, self._session, expires_s=settings.presign_expires_s)

    def _try(self, call: Callable[[], T], *, what: str, before: Callable[[], None] = no_check) -> T:
        def once() -> T:
            with translating_errors(what, at=self._where):
                return call()

        return with_tries(once, most=self._settings.attempts, before=before)


def _client(session: Session, settings: StorageSettings, *, endpoint_url: str | None, region: str | None) -> Any:
    config = Config(
        signature_version="s3v4",  # the default for presigned URLs is older, and refused by newer regions
        connect_timeout=settings.timeout_s,
        read_timeout=settings.timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},  # `with_tries` asks before each try
        max_pool_connections=_CONNECTIONS,
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        parameter_validation=False,  # all parameters are made here, and each request would be checked again
        user_agent=_USER_AGENT,  # botocore would compose another of 30 parts for each request
        request_checksum_calculation="when_required",  # many servers other than Amazon's know no others
        response_checksum_validation="when_required",
    )
    client = session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    client.meta.events.register_last("before-call.s3.PutObject", _send_small_body_at_once)
    return client


def _send_small_body_at_once(params: dict[str, Any], **_: Any) -> None:
    """Send a small body together with its headers; botocore asks first whether the server would take any body.

    That costs another turn with the server, and spares the sending of a body that is refused.
    """
    body = params["body"]
    if isinstance(body, io.BytesIO) and body.getbuffer().nbytes <= _SMALL_BODY:
        params["body"] = body.getvalue()
        params["headers"].pop("Expect", None)
