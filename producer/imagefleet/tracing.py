"""Tracing: spans, and the headers that carry them from process to process (https://www.w3.org/TR/trace-context/).

With OpenTelemetry's API installed, spans go where the program sends its others; without it, nothing happens.
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
    """The headers of the span that is current here; empty without one."""
    headers: dict[str, str] = {}
    if otel := _otel():
        otel.propagator.inject(headers)
    return headers


def trace_id() -> str:
    """The current trace, 32 hexadecimal digits; empty where there is none."""
    otel = _otel()
    context = otel.trace.get_current_span().get_span_context() if otel else None
    return f"{context.trace_id:032x}" if context and context.is_valid else ""


@contextmanager
def span(
    name: str, *, kind: Kind, parent: Mapping[str, Any] | None = None, **attributes: str | float
) -> Generator[None]:
    """Make a span of the block, current in this thread; a child of that in the headers *parent*, or of the current."""
    otel = _otel()
    if otel is None:
        yield
        return
    held = {key: value for key in HEADERS if isinstance(value := (parent or {}).get(key), str)}
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


def parts(lengths: Mapping[str, float], *, end: float | None = None) -> None:
    """Children of the current span that follow each other without gaps, in seconds by name; the last one ends at *end*.

    *end* is in seconds since 1970, now where it is left out. Lengths of 0 are left out.
    """
    if otel := _otel():
        tracer = otel.trace.get_tracer("imagefleet")
        moment = (time.time() if end is None else end) - sum(lengths.values())
        for name, seconds in lengths.items():
            if seconds > 0:
                child = tracer.start_span(name, start_time=int(moment * 1e9))
                child.end(end_time=int((moment + seconds) * 1e9))
            moment += seconds
