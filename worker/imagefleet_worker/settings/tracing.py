"""Where traces go."""

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


class TracingSettings(BaseSettings):
    """Traces for a collector of OpenTelemetry."""

    model_config = group("TRACING")

    endpoint: str = Field(
        default="", description="OTLP over HTTP, such as http://collector:4318/v1/traces; empty: off."
    )
    ratio: float = Field(
        default=1.0, ge=0, le=1, description="Part of the traces that begin here; others go on anyway."
    )
    service: str = Field(default="imagefleet-worker", description="`service.name` of the spans.")
