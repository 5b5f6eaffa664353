"""An S3 that works, and yet is wrong: it ignores conditions, or tells another time."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.support.flaky_s3 import FlakyS3


class WrongS3(FlakyS3):
    """Passes requests on without their `If-None-Match`; its clock is *behind_s* seconds behind."""

    def __init__(self, endpoint_url: str, *, behind_s: float = 0) -> None:
        super().__init__(endpoint_url)
        self._behind = timedelta(seconds=behind_s)

    def pass_on(self, method: str, path: str, *, headers: dict[str, str], body: bytes) -> tuple[int, list[Any], bytes]:
        """As `FlakyS3.pass_on`, with what is wrong about this one."""
        kept = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
        status, fields, answer = super().pass_on(method, path, headers=kept, body=body)
        date = format_datetime(datetime.now(UTC) - self._behind, usegmt=True)
        return status, [(n, v) for n, v in fields if n.lower() != "date"] + [("Date", date)], answer
