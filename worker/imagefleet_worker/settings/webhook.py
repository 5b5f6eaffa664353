"""Deliveries to receivers."""

from typing import Annotated, Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode

from imagefleet_worker.settings.groups import group


class WebhookSettings(BaseSettings):
    """Deliveries to receivers."""

    model_config = group("WEBHOOK")

    secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Comma-separated whsec_ secrets; each signs, so two while one is rotated out."
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated hosts or networks (10.0.0.0/8) that may be private."
    )
    timeout_s: float = Field(default=10, gt=0, description="For one delivery as a whole.")
    retry_for_s: int = Field(default=86_400, ge=0, description="Give up this long after the first try.")
    retry_base_s: float = Field(default=5, gt=0, description="First pause between tries; each is about twice the last.")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: tuple(part.strip() for part in value.split(",") if part.strip())
            if name in ("secrets", "allow_hosts") and isinstance(value, str)
            else value
            for name, value in data.items()
        }
