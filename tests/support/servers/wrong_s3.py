"""An S3 that works, and yet is wrong: it ignores conditions, or tells another time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.servers.flaky_s3_proxy import FlakyS3


class WrongS3(FlakyS3):
    """Passes requests on without their `If-None-Match`; its clock is *behind_s* seconds behind.

    Servers that check signatures notice the missing header: give *sign_as*, the variables with the credentials.
    """

    def __init__(self, endpoint_url: str, *, behind_s: float = 0, sign_as: Mapping[str, str] | None = None) -> None:
        super().__init__(endpoint_url)
        self._behind = timedelta(seconds=behind_s)
        self._sign_as = sign_as

    def pass_on(self, method: str, path: str, *, headers: dict[str, str], body: bytes) -> tuple[int, list[Any], bytes]:
        """As `FlakyS3.pass_on`, with what is wrong about this one."""
        kept = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
        if self._sign_as and kept != headers:
            kept = self._signed(method, path, headers=kept, body=body, sign_as=self._sign_as)
        status, fields, answer = super().pass_on(method, path, headers=kept, body=body)
        date = format_datetime(datetime.now(UTC) - self._behind, usegmt=True)
        return status, [(n, v) for n, v in fields if n.lower() != "date"] + [("Date", date)], answer

    def _signed(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes, sign_as: Mapping[str, str]
    ) -> dict[str, str]:
        request = AWSRequest(method=method, url=f"{self.url}{path}", data=body, headers=headers)
        request.context["payload_signing_enabled"] = True
        who = Credentials(sign_as["AWS_ACCESS_KEY_ID"], sign_as["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(who, "s3", sign_as.get("AWS_REGION") or "us-east-1").add_auth(request)
        return dict(request.headers.items())
