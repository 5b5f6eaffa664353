"""URL signer: links for the host and the region of one client of S3."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from boto3.session import Session


class SignedUrl(NamedTuple):
    """A link, and when it ends."""

    url: str
    expires_at: datetime


class UrlSigner:
    """Signs links with the credentials of one session; nothing is sent."""

    def __init__(self, client: Any, session: "Session", *, expires_s: int) -> None:
        """Sign for the host and the region of *client*, which belongs to *session*."""
        self._client = client
        self._session = session
        self._expires_s = expires_s

    def sign(self, bucket: str, key: str, *, expires_s: int | None = None) -> SignedUrl:
        """A link to an object. It ends after *expires_s* or with the credentials, if these end earlier.

        Raises:
            botocore exceptions: If there are no credentials to sign with.
        """
        now, seconds = datetime.now(UTC), expires_s or self._expires_s
        url = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
        )
        # boto3 tells nobody when short-lived credentials end; its own renewal reads this field.
        ends: datetime | None = getattr(self._session.get_credentials(), "_expiry_time", None)
        expires_at = now + timedelta(seconds=seconds)
        return SignedUrl(url, min(expires_at, ends) if ends else expires_at)


def region_of(client: Any, bucket: str) -> str | None:
    """The region of *bucket* as its server says; None if it does not. A refusal says so, too."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # as in `link_signer`

    try:
        answer: Any = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:
        return None
    return answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
