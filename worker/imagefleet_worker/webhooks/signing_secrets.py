"""Signing secrets: which secrets sign the deliveries to a URL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from imagefleet_worker.settings import WebhookSettings
from imagefleet_worker.webhooks.ssrf_guard import Target

_WEB_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Scope:
    """The URLs that a set of secrets is for; a part that is not given fits all."""

    host: str
    scheme: str | None = None
    port: int | None = None
    path: str = "/"

    @classmethod
    def read(cls, text: str) -> "_Scope":
        """Read a host, a host and port, or the beginning of a URL."""
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port or _WEB_PORTS.get(parts.scheme)
        return cls((parts.hostname or "").rstrip("."), parts.scheme or None, port, parts.path or "/")

    def holds(self, target: Target) -> bool:
        """Whether *target* is in the scope; paths are compared by whole segments: `/a` holds `/a/b` and not `/ab`."""
        path = target.path.partition("?")[0]
        return (
            self.host == target.host
            and self.scheme in (None, target.scheme)
            and self.port in (None, target.port)
            and (path == self.path or path.startswith(self.path.rstrip("/") + "/"))
        )


def secrets_for(target: Target, *, settings: WebhookSettings) -> tuple[str, ...]:
    """The secrets for *target*: those of the longest scope that holds it, otherwise those for all."""
    own: Mapping[str, Iterable[SecretStr]] = settings.endpoint_secrets
    fitting = [scope for scope in own if _Scope.read(scope).holds(target)]
    secrets = own[max(fitting, key=len)] if fitting else settings.secrets
    return tuple(secret.get_secret_value() for secret in secrets)
