"""How a process is watched: metrics, signs of life, traces."""

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.base import group


class TracingSettings(BaseSettings):
    """Traces for a collector of OpenTelemetry."""

    model_config = group("TRACING")

    endpoint: str = Field(
        default="", description="OTLP over HTTP, such as http://collector:4318/v1/traces; empty: off."
    )
    ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the traces that begin here that is recorded; others keep their own decision.",
    )
    service: str = Field(default="imagefleet-worker", description="`service.name` of the spans.")


class MetricsSettings(BaseSettings):
    """Metrics for Prometheus, and counts for autoscalers."""

    model_config = group("METRICS")

    port: int = Field(
        default=0, ge=0, le=65_535, description="Port of /metrics; 0 is off. Each process needs a port of its own."
    )
    address: str = Field(default="0.0.0.0", description="The address to listen on.")
    due_within_s: float = Field(
        default=120,
        ge=0,
        le=86_400,
        description="Seconds before it is due from which a delayed job counts as demand: what a worker takes to start.",
    )


class HealthSettings(BaseSettings):
    """The heartbeat file that `imagefleet-worker health` reads, and when a worker doubts itself."""

    model_config = group("HEALTH")

    folder: str = Field(default="", description="Folder of the heartbeat, one for each process; empty is off.")
    max_failures: int = Field(
        default=3,
        ge=0,
        description="Failed jobs in a row after which a worker makes a test image and a test write; 0: never.",
    )
