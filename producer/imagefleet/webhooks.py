"""Webhooks: the events of a job, and their signatures by the Standard Webhooks specification.

Source of headers and signature: Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imagefleet.contract.jobs import WebhookEvent
from imagefleet.contract.results import JobResult, JobStatus, JobUpdate
from imagefleet.errors import InvalidSignature

#: Seconds by which the time of a signature may differ; a recorded request cannot be replayed later.
TOLERANCE_S: Final = 300
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # the prefix of every secret, not one


class Event(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(frozen=True)

    type: WebhookEvent
    timestamp: AwareDatetime
    #: The result, with the four events of a job that has ended; before that, an update.
    data: JobResult | JobUpdate

    @classmethod
    def for_result(cls, result: JobResult) -> "Event":
        """The event that announces *result*."""
        return cls(type=WebhookEvent(f"job.{result.status}"), timestamp=result.finished_at, data=result)

    @classmethod
    def for_update(cls, update: JobUpdate) -> "Event":
        """The event that announces *update*."""
        kind = WebhookEvent.PROGRESS if update.progress else WebhookEvent(f"job.{update.status}")
        return cls(type=kind, timestamp=update.at, data=update)

    @property
    def id(self) -> str:
        """The `webhook-id`: the same for every delivery and every repetition of this event.

        A job is queued once and ends once. Each attempt that begins has its own event, and so has each announced step.
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
    #: The event as JSON text; links in it are signed again at each try.
    body: str
    attempt: Annotated[int, Field(ge=1)] = 1
    #: When the first try was due, in seconds since 1970.
    first_at: float | None = None
    #: The moment, in seconds since 1970, after which it is dropped: not tried again, and not a dead letter.
    expires_at: float | None = None
    #: Whether a person had it sent again; then it is tried even if the receiver answered 410 before.
    replayed: bool = False
    #: Why the last try failed.
    last_error: str | None = None


def sign(body: bytes, *, secret: str, event_id: str, timestamp: int) -> str:
    """The `v1,...` signature of one delivery with one secret (`whsec_` and base64).

    Raises:
        InvalidSignature: if the secret is not base64.
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
        InvalidSignature: if a header is missing, the time is more than five minutes off, or no signature matches.
    """
    event_id, timestamp, signatures = _parts({name.lower(): str(value) for name, value in headers.items()})
    if abs((time.time() if now is None else now) - timestamp) > TOLERANCE_S:
        raise InvalidSignature(
            f"the timestamp is more than {TOLERANCE_S} s from this machine's clock; refuse it, or set the clock"
        )
    expected = sign(body, secret=secret, event_id=event_id, timestamp=timestamp)
    if not any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures):
        raise InvalidSignature(
            "no signature was made with this secret; refuse it, or compare the secret with that of the senders"
        )
    return Event.model_validate_json(body)


def _parts(given: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """The id, the timestamp and the signatures in the headers *given*."""
    missing = [name for name in _HEADERS if name not in given]
    if missing:
        hint = "pass the headers of the request as they came, such as request.headers"
        if _HEADERS[-1] in missing and len(missing) == 1:  # a sender without a secret sends the others
            hint = "it was sent unsigned; set IMAGEFLEET_WEBHOOK_SECRETS where the sender runs"
        raise InvalidSignature(f"the request has no {', '.join(missing)}: {hint}")
    event_id, timestamp, signatures = (given[name] for name in _HEADERS)
    if not timestamp.isdecimal():
        raise InvalidSignature(f"webhook-timestamp must be seconds since 1970; it is {timestamp!r}: refuse it")
    return event_id, int(timestamp), signatures.split()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise InvalidSignature("the secret must be base64, with or without whsec_ before it; correct it") from error
