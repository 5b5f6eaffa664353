"""Fresh links: those in a webhook are signed again when it is sent, which may be hours after the images were made."""

import json
import threading
from datetime import datetime
from typing import Any

import structlog

from imagefleet.errors import ImageFleetError
from imagefleet.links.link_signer import LinkSigner
from imagefleet.links.settings import LinkSettings
from imagefleet_worker.settings import StorageSettings

log = structlog.get_logger(__name__)


class FreshLinks:
    """Signs the links in the bodies of events; safe to use from many threads.

    Only images below the prefix of the bucket get links: who may write to Redis shall not have others signed.
    """

    def __init__(self, settings: StorageSettings) -> None:
        """Without a bucket in *settings*, links stay as they are."""
        prefix = settings.prefix.strip("/")
        self._below = f"s3://{settings.bucket}/{prefix}/" if prefix else f"s3://{settings.bucket}/"
        self._has_bucket = bool(settings.bucket)
        self._signer = LinkSigner(
            # Unchecked: a URL that cannot be used is an error when a link is signed, not when a process starts.
            LinkSettings.model_construct(
                endpoint_url=settings.endpoint_url or "",
                public_url=settings.public_url or "",
                region=settings.region or "",
                path_style=settings.path_style,
                expires_s=settings.presign_expires_s,
            )
        )
        self._told = threading.Event()

    def in_body(self, body: str) -> str:
        """*body* with a new `url` and `url_expires_at` in each artifact that has a link; unchanged if that cannot be.

        A webhook with an old link is better than none, and says itself when that link ends.
        """
        event = _event_with_links(body)
        if event is None:
            return body
        if not self._has_bucket:
            self._tell("IMAGEFLEET_STORAGE_BUCKET is not set for this sender; they end as url_expires_at says")
            return body
        try:
            artifacts = [self._signed(artifact) for artifact in event["data"]["artifacts"]]
        except ImageFleetError as error:
            self._tell(error.message)
            return body
        data = {**event["data"], "artifacts": artifacts}
        return json.dumps({**event, "data": data}, ensure_ascii=False, separators=(",", ":"))

    def _signed(self, artifact: dict[str, Any]) -> dict[str, Any]:
        uri = artifact.get("uri")
        if not artifact.get("url") or not isinstance(uri, str) or not uri.startswith(self._below):
            return artifact
        link = self._signer.sign(uri)
        return {**artifact, "url": link.url, "url_expires_at": _in_json(link.expires_at)}

    def _tell(self, reason: str) -> None:
        """Log once why links are not fresh: it is the same for all webhooks."""
        if not self._told.is_set():
            self._told.set()
            log.warning("links in webhooks are not signed again when they are sent", reason=reason)


def _event_with_links(body: str) -> dict[str, Any] | None:
    """The event in *body*, if its job has images with links."""
    try:
        event = json.loads(body)
        artifacts = event["data"]["artifacts"]
        has_links = any(artifact.get("url") for artifact in artifacts)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return event if has_links else None


def _in_json(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
