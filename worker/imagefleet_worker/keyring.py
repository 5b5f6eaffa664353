"""The keyring: which secrets sign what goes to an endpoint."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from imagefleet_worker.addresses import Target
from imagefleet_worker.settings import WebhookSettings

_WEB_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a set of secrets is for; what is not said fits all."""

    host: str
    scheme: str | None = None
    port: int | None = None
    path: str = "/"

    @classmethod
    def read(cls, text: str) -> "_Place":
        """Read a host, a host and port, or the beginning of a URL."""
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port or _WEB_PORTS.get(parts.scheme)
        return cls((parts.hostname or "").rstrip("."), parts.scheme or None, port, parts.path or "/")

    def holds(self, target: Target) -> bool:
        """Whether *target* lies there. A path ends where a segment ends: `/a` holds `/a/b` and not `/ab`."""
        path = target.path.partition("?")[0]
        return (
            self.host == target.host
            and self.scheme in (None, target.scheme)
            and self.port in (None, target.port)
            and (path == self.path or path.startswith(self.path.rstrip("/") + "/"))
        )


def secrets_for(target: Target, *, settings: WebhookSettings) -> tuple[str, ...]:
    """The secrets for *target*: those of the longest place that holds it, else those for all."""
    own: Mapping[str, Iterable[SecretStr]] = settings.endpoint_secrets
    fitting = [place for place in own if _Place.read(place).holds(target)]
    secrets = own[max(fitting, key=len)] if fitting else settings.secrets
    return tuple(secret.get_secret_value() for secret in secrets)
