"""Spans in a program that exports none."""

import pytest
from opentelemetry import trace

from imagefleet import tracing

PARENT = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


@pytest.fixture(autouse=True)
def _no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)


def test_without_an_exporter_no_span_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer", None)  # not even looked for
    with tracing.span("mine", kind="INTERNAL"):
        assert tracing.carrier() == {}


def test_without_an_exporter_a_trace_is_passed_on() -> None:
    with tracing.span("mine", kind="CONSUMER", parent=PARENT):
        assert tracing.carrier()["traceparent"].split("-")[1] == PARENT["traceparent"].split("-")[1]
