"""Tracing: spans, and the headers that carry them from process to process (https://www.w3.org/TR/trace-context/).

If OpenTelemetry's API is installed, spans go to the exporter of the program. Without it nothing happens.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal, NamedTuple

#: The names of the headers.
HEADERS: Final = ("traceparent", "tracestate")
Kind = Literal["INTERNAL", "PRODUCER", "CONSUMER", "CLIENT"]


class _Otel(NamedTuple):
    trace: Any
    propagator: Any


@cache
def _otel() -> _Otel | None:
    try:
        from opentelemetry import trace  # noqa: PLC0415  # optional, and not loaded before it is used
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
    except ImportError:
        return None
    return _Otel(trace, TraceContextTextMapPropagator())


def carrier() -> dict[str, str]:
    """The headers of the current span; empty without one."""
    headers: dict[str, str] = {}
    if otel := _otel():
        otel.propagator.inject(headers)
    return headers


def trace_id() -> str:
    """The id of the current trace, 32 hexadecimal digits; empty without one."""
    otel = _otel()
    context = otel.trace.get_current_span().get_span_context() if otel else None
    return f"{context.trace_id:032x}" if context and context.is_valid else ""


@contextmanager
def span(
    name: str, *, kind: Kind, parent: Mapping[str, Any] | None = None, **attributes: str | float
) -> Generator[None]:
    """Record the block as a span: a child of the span in the headers *parent*, or else of the current span."""
    otel = _otel()
    if otel is None:
        yield
        return
    held = {key: value for key in HEADERS if isinstance(value := (parent or {}).get(key), str)}
    if not held and isinstance(otel.trace.get_tracer_provider(), otel.trace.ProxyTracerProvider):
        yield  # the program exports no spans, and there is none to pass on
        return
    context = otel.propagator.extract(held) if held else None
    tracer = otel.trace.get_tracer("imagefleet")
    kind_ = otel.trace.SpanKind[kind]
    with tracer.start_as_current_span(name, context=context, kind=kind_, attributes=attributes):
        yield


def fail(code: str, sentence: str) -> None:
    """Mark the current span as failed."""
    if otel := _otel():
        current = otel.trace.get_current_span()
        current.set_attribute("error.type", code)
        current.set_status(otel.trace.Status(otel.trace.StatusCode.ERROR, sentence))


def child_spans(lengths: Mapping[str, float], *, end: float | None = None) -> None:
    """Record child spans of the current span: *lengths* in seconds by name, in order, without gaps, up to *end*.

    *end* is in seconds since 1970; None: now. Lengths of 0 are left out.
    """
    if otel := _otel():
        tracer = otel.trace.get_tracer("imagefleet")
        moment = (time.time() if end is None else end) - sum(lengths.values())
        for name, seconds in lengths.items():
            if seconds > 0:
                child = tracer.start_span(name, start_time=int(moment * 1e9))
                child.end(end_time=int((moment + seconds) * 1e9))
            moment += seconds
