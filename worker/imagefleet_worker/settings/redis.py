"""The queue: where it is, and how messages are held."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from imagefleet.store.redis_url import check_url
from imagefleet_worker.settings.base import group


class RedisSettings(BaseSettings):
    """The Redis that holds the queues."""

    model_config = group("REDIS")

    url: str = Field(default="redis://127.0.0.1:6379/0", description="redis://, rediss:// (TLS) or sentinel:// URL.")
    key_prefix: str = Field(default="", description="Prefix of every key, for a Redis that other programs use too.")
    sentinel_master: str = Field(default="", description="Name of the master; needed with a sentinel:// URL.")
    result_ttl_s: int = Field(
        default=21_600, gt=0, description="Seconds that results and records stay in Redis after a job has ended."
    )
    socket_timeout_s: float = Field(
        default=5, gt=0, description="Seconds without an answer before a connection to Redis counts as broken."
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        check_url(url)
        if url.startswith("unix://"):
            raise ValueError("unix:// is for clients; Celery knows redis://, rediss:// (TLS) and sentinel://: use one")
        return url


class LeaseSettings(BaseSettings):
    """How long claims on messages are valid, and what becomes of jobs that lose their workers."""

    model_config = group("LEASE")

    duration_s: float = Field(
        default=30, ge=1, description="Seconds without renewal before another worker takes a job over."
    )
    max_deliveries: int = Field(
        default=3,
        ge=1,
        description="A job becomes a dead letter when this number of workers was lost with it on their devices, and it "
        "was alone on the last one.",
    )
    loss_window_s: float = Field(
        default=21_600, gt=0, description="Losses of workers count together if they fall into this number of seconds."
    )
    dead_letter_ttl_s: int = Field(default=1_209_600, gt=0, description="Seconds that dead letters are kept.")
    max_dead_letters: int = Field(
        default=10_000, gt=0, description="Most dead letters that are kept; the oldest are deleted first."
    )
