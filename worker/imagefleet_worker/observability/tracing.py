"""Tracing: the spans that a worker adds to a job's trace, and where it sends them; log lines carry the trace id."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from imagefleet import tracing
from imagefleet.contract.results import JobResult
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.settings import TracingSettings

_PHASES = ("denoise", "decode", "encode", "upload")
_FLUSH_MS = 3000


def configure(settings: TracingSettings) -> None:
    """Send spans to the collector of *settings*, if one is set.

    Raises:
        SettingsInvalid: If OpenTelemetry is not installed.
    """
    if not settings.endpoint:
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415  # the extra `otel`
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError as error:
        raise SettingsInvalid(
            "IMAGEFLEET_TRACING_ENDPOINT: OpenTelemetry is not installed; pip install 'imagefleet[otel]'"
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": settings.service}), sampler=ParentBasedTraceIdRatio(settings.ratio)
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    trace.set_tracer_provider(provider)


def flush() -> None:
    """Send the spans that have not been sent, for at most three seconds."""
    try:
        from opentelemetry import trace  # noqa: PLC0415  # the extra `otel`
    except ImportError:
        return
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush(_FLUSH_MS)  # type: ignore[attr-defined]  # the API's own has none


@contextmanager
def attempt(headers: Mapping[str, Any], *, job_id: str, model: str, device: str) -> Generator[None]:
    """The span of one attempt at a job, whose message has *headers*; each log line in it names the job."""
    about = {"job_id": job_id, "model": model, "device": device}
    with (
        tracing.span("imagefleet.attempt", kind="CONSUMER", parent=headers, **about),
        structlog.contextvars.bound_contextvars(**about, **_trace_id()),
    ):
        yield


@contextmanager
def delivery(headers: Mapping[str, Any], *, event_id: str) -> Generator[None]:
    """The span of one try at a webhook, whose message has *headers*."""
    with (
        tracing.span("imagefleet.delivery", kind="CONSUMER", parent=headers, event_id=event_id),
        structlog.contextvars.bound_contextvars(**_trace_id()),
    ):
        yield


def record_timings(result: JobResult, *, began: float) -> None:
    """Add the timings of *result* to the span of its attempt, which *began* at that moment (seconds since 1970).

    The phases are placed one after the other, up to now. If the result is that of another worker's attempt, its phases
    do not fit into this span and are left out.
    """
    if result.error:
        tracing.fail(result.error.code, result.error.message)
        return
    timings = result.timings
    lengths = {phase: getattr(timings, f"{phase}_s") or 0.0 for phase in _PHASES}
    if sum(lengths.values()) <= time.time() - began:
        tracing.child_spans({"queued": timings.queued_s}, end=began)
        tracing.child_spans(lengths)


def _trace_id() -> dict[str, str]:
    found = tracing.trace_id()
    return {"trace_id": found} if found else {}
