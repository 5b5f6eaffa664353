"""Webhooks: the event that tells a receiver where a job is or how it ended, and its Standard Webhooks signature.

Source of headers and signature: Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imagefleet.errors import InvalidSignature
from imagefleet.jobs import WebhookEvent
from imagefleet.results import JobResult, JobStatus, JobUpdate

#: A signature that is older or newer than this is refused, so that a recorded request cannot be played back later.
TOLERANCE_S: Final = 300
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # the prefix of every secret, not one


class Event(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(frozen=True)

    type: WebhookEvent
    timestamp: AwareDatetime
    #: The result with the four ends of a job; before, where the job is.
    data: JobResult | JobUpdate

    @classmethod
    def of(cls, result: JobResult) -> "Event":
        """The event that announces *result*."""
        return cls(type=WebhookEvent(f"job.{result.status}"), timestamp=result.finished_at, data=result)

    @classmethod
    def of_update(cls, update: JobUpdate) -> "Event":
        """The event that tells *update*."""
        kind = WebhookEvent.PROGRESS if update.progress else WebhookEvent(f"job.{update.status}")
        return cls(type=kind, timestamp=update.at, data=update)

    @property
    def id(self) -> str:
        """The `webhook-id`: the same for every delivery and every repetition of this event.

        A job ends once and is queued once. Each attempt that begins is an event, and so is each step that is told.
        """
        name = f"{self.type} {self.data.id}"
        if isinstance(self.data, JobUpdate) and self.data.status is JobStatus.RUNNING:
            name += f" {self.data.attempts}" + (f" {self.data.progress.done}" if self.data.progress else "")
        return "evt_" + hashlib.sha256(name.encode()).hexdigest()[:32]


class Delivery(BaseModel):
    """The kwargs of the task that delivers one event to one receiver."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    event_id: str
    #: The event as JSON text: each try sends the very same bytes.
    body: str
    attempt: Annotated[int, Field(ge=1)] = 1
    #: When the first try was due, in seconds since 1970.
    first_at: float | None = None
    #: Dropped where it has not been delivered by then, in seconds since 1970: neither tried again nor a dead letter.
    expires_at: float | None = None
    #: Sent again by a person: tried also where the receiver answered 410 before.
    replayed: bool = False
    #: Why the try before this one failed.
    last_error: str | None = None


def sign(body: bytes, *, secret: str, event_id: str, timestamp: int) -> str:
    """The `v1,...` signature of one delivery with one secret (`whsec_` and base64).

    Raises:
        InvalidSignature: where the secret is not base64.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(body: bytes, *, secrets: Sequence[str], event_id: str, timestamp: int) -> dict[str, str]:
    """The headers of one delivery, with a signature for each of *secrets* (two while a secret is being rotated)."""
    signatures = [sign(body, secret=secret, event_id=event_id, timestamp=timestamp) for secret in secrets]
    basic = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    return {**basic, "webhook-signature": " ".join(signatures)} if signatures else basic


def verify(body: bytes, headers: Mapping[str, Any], *, secret: str, now: float | None = None) -> Event:
    """Check the signature of a received webhook and return its event.

    Raises:
        InvalidSignature: where a header is missing, the time is more than five minutes off, or no signature fits.
    """
    given = {name.lower(): str(value) for name, value in headers.items()}
    try:
        event_id, timestamp = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split()
    except (KeyError, ValueError) as error:
        raise InvalidSignature("webhook-id, webhook-timestamp and webhook-signature must all be there") from error
    if abs((time.time() if now is None else now) - timestamp) > TOLERANCE_S:
        raise InvalidSignature(f"the timestamp is more than {TOLERANCE_S} s from this machine's clock")
    expected = sign(body, secret=secret, event_id=event_id, timestamp=timestamp)
    if not any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures):
        raise InvalidSignature("no signature was made with this secret")
    return Event.model_validate_json(body)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise InvalidSignature("the secret must be base64, with or without whsec_ before it") from error
