"""Deliveries to receivers."""

import json
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode

from imagefleet.errors import InvalidSignature
from imagefleet.webhooks import sign
from imagefleet_worker.settings.base import group

_LISTS: Final = ("secrets", "allow_hosts")


def _can_sign(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.startswith("whsec_") or text == "whsec_":
        raise ValueError("a secret is whsec_ and base64, such as `echo whsec_$(openssl rand -base64 32)` prints")
    try:
        sign(b"", secret=text, event_id="", timestamp=0)
    except InvalidSignature as error:
        raise ValueError(f"what follows whsec_ is not base64: {error.message}") from error
    return secret


def _is_a_place(text: str) -> str:
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        is_good = bool(parts.hostname) and parts.port != 0 and parts.scheme in ("", "http", "https")
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("is no host, host:port or URL")
    return text


Place = Annotated[str, AfterValidator(_is_a_place)]
Secret = Annotated[SecretStr, AfterValidator(_can_sign)]


class WebhookSettings(BaseSettings):
    """How a sender signs, delivers and repeats webhooks."""

    model_config = group("WEBHOOK")

    secrets: Annotated[tuple[Secret, ...], NoDecode] = Field(
        default=(), description="Comma-separated whsec_ secrets; each signs, so two while one is rotated out."
    )
    endpoint_secrets: Annotated[dict[Place, tuple[Secret, ...]], NoDecode] = Field(
        default={},
        description="JSON: host, host:port or URL prefix to its own secrets; the longest prefix wins.",
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated hosts or networks (10.0.0.0/8) that may be private."
    )
    timeout_s: float = Field(default=10, gt=0, description="Seconds for one delivery as a whole.")
    retry_for_s: int = Field(
        default=86_400, ge=0, description="Seconds after the first try before a delivery is given up."
    )
    retry_base_s: float = Field(
        default=5, gt=0, description="First pause between tries, in seconds; each pause is about twice the last."
    )
    progress_interval_s: float = Field(
        default=5, gt=0, description="Least seconds between two job.progress events of a job."
    )
    gone_for_s: int = Field(
        default=86_400, ge=0, description="Seconds after a 410 in which nothing is sent to that URL."
    )
    endpoint_concurrency: int = Field(
        default=4, ge=1, description="Most deliveries to one host and port at a time, by one process."
    )
    circuit_failures: int = Field(
        default=5, ge=1, description="Failures in a row that open the circuit breaker of an endpoint."
    )
    circuit_open_s: float = Field(
        default=10, gt=0, description="Seconds that it stays open; twice as long after each further failure, up to 300."
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {name: _parsed(name, value) if isinstance(value, str) else value for name, value in data.items()}


def _parsed(name: str, text: str) -> Any:
    if name in _LISTS:
        return _parts(text)
    if name != "endpoint_secrets":
        return text
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"IMAGEFLEET_WEBHOOK_ENDPOINT_SECRETS: is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(  # noqa: TRY004  # pydantic collects value errors
            'IMAGEFLEET_WEBHOOK_ENDPOINT_SECRETS: must be a JSON object such as {"hooks.example.com": "whsec_..."}'
        )
    return {where: _parts(value) if isinstance(value, str) else value for where, value in given.items()}


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
