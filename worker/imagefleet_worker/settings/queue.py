"""The queue: where it is, and how messages are held."""

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


class RedisSettings(BaseSettings):
    """The queue."""

    model_config = group("REDIS")

    url: str = Field(default="redis://127.0.0.1:6379/0", description="redis://, rediss:// (TLS) or sentinel:// URL.")
    key_prefix: str = Field(default="", description="Put before every key, for a Redis that others use too.")
    sentinel_master: str = Field(default="", description="Name of the master, with a sentinel:// URL.")
    result_ttl_s: int = Field(default=21_600, gt=0, description="How long results and records stay in Redis.")
    socket_timeout_s: float = Field(default=5, gt=0, description="After this long without an answer: broken.")


class LeaseSettings(BaseSettings):
    """Claims on messages."""

    model_config = group("LEASE")

    duration_s: float = Field(default=30, ge=1, description="A silent worker's jobs go to others after this long.")
    max_deliveries: int = Field(
        default=3, ge=1, description="A job whose worker fell silent so often is a dead letter."
    )
    dead_letter_ttl_s: int = Field(default=1_209_600, gt=0, description="How long dead letters are kept.")
    max_dead_letters: int = Field(default=10_000, gt=0, description="How many; the oldest go first.")
