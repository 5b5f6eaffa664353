"""Link signer: links to the objects of any bucket, with the credentials that boto3 finds in its usual places.

boto3 is imported when the first link is signed: whoever signs none needs neither it nor credentials.
"""

import threading
from typing import TYPE_CHECKING, Any, Final

from imagefleet.errors import LinkNotSigned, reason_of
from imagefleet.links.settings import LONGEST_S, LinkSettings
from imagefleet.links.url_signer import SignedUrl, UrlSigner, region_of

if TYPE_CHECKING:
    from boto3.session import Session

#: Seconds for the one request that may be sent: where a bucket is.
_TIMEOUT_S: Final = 5


class LinkSigner:
    """Signs links to objects of any bucket; safe to use from many threads."""

    def __init__(self, settings: LinkSettings | None = None) -> None:
        """Without *settings*, those of the environment are read when the first link is signed."""
        self._settings = settings
        self._lock = threading.Lock()
        self._signers: dict[str, UrlSigner] = {}

    def sign(self, uri: str, *, expires_s: int | None = None) -> SignedUrl:
        """A link to the object `s3://bucket/key`; it ends as `LinkSettings.expires_s` says, or after *expires_s*.

        Raises:
            LinkNotSigned: If *uri* is none, *expires_s* is out of bounds, or boto3 or credentials are missing.
            SettingsInvalid: If a variable cannot be used.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not (uri.startswith("s3://") and bucket and key):
            raise LinkNotSigned(f"a link leads to an image such as s3://bucket/key; {uri!r} is none: correct it")
        if expires_s is not None and not 1 <= expires_s <= LONGEST_S:
            raise LinkNotSigned(f"a link is valid for 1 to {LONGEST_S:,} seconds, not for {expires_s:,}: choose less")
        try:
            from botocore.exceptions import BotoCoreError, NoCredentialsError  # noqa: PLC0415  # see above
        except ImportError as error:
            raise LinkNotSigned("links are signed by boto3, which is missing: pip install 'imagefleet[s3]'") from error
        try:
            return self._signer_for(bucket).sign(bucket, key, expires_s=expires_s)
        except NoCredentialsError as error:
            raise LinkNotSigned(
                "there are no credentials to sign a link with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "another place where boto3 looks for them"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise LinkNotSigned(f"the link cannot be signed: {reason_of(error)}; check the credentials") from error

    def _signer_for(self, bucket: str) -> UrlSigner:
        with self._lock:
            if bucket not in self._signers:
                self._settings = self._settings or LinkSettings.from_env()
                self._signers[bucket] = _signer(self._settings, bucket)
            return self._signers[bucket]


def _signer(settings: LinkSettings, bucket: str) -> UrlSigner:
    from boto3.session import Session  # noqa: PLC0415  # see above

    session = Session()  # boto3's default session is shared, and not safe to use from many threads
    region: str | None = settings.region or None
    if not (region and settings.endpoint_url):  # what a server of one's own says may be a default
        asked = _client(session, settings, url=settings.endpoint_url, region=region)
        region = region_of(asked, bucket) or region
    client = _client(session, settings, url=settings.public_url or settings.endpoint_url, region=region)
    return UrlSigner(client, session, expires_s=settings.expires_s)


def _client(session: "Session", settings: LinkSettings, *, url: str, region: str | None) -> Any:
    from botocore.config import Config  # noqa: PLC0415  # see above

    config = Config(
        signature_version="s3v4",  # the default for presigned URLs is older, and refused by newer regions
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 1},
        s3={"addressing_style": "path" if settings.path_style else "auto"},
    )
    return session.client("s3", endpoint_url=url or None, region_name=region, config=config)
