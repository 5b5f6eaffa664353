"""A group of settings: one class, one prefix of variables."""

from pydantic_settings import SettingsConfigDict


def group(prefix: str) -> SettingsConfigDict:
    """Settings that are read from `IMAGEFLEET_<prefix>_*` and never change."""
    return SettingsConfigDict(env_prefix=f"IMAGEFLEET_{prefix}_", frozen=True, extra="forbid", env_ignore_empty=True)
