"""One trace from the submit to the receiver of the webhook, collected over OTLP from three real processes."""

import json
from contextlib import closing
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.fleet.fleet import Fleet
from tests.support.servers.trace_collector import Seen, TraceCollector
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import tracing
from imagefleet_worker.observability import tracing as worker_tracing


def log_of(fleet: Fleet, worker: str) -> list[dict[str, Any]]:
    """The lines that *worker* has logged for programs."""
    text = (fleet.folder / f"{worker}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line[:1] == "{"]


@pytest.fixture(scope="module")
def producer() -> InMemorySpanExporter:
    """The spans of this process; a process has one provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def fleet(watched_fleet: Fleet) -> Fleet:
    return watched_fleet


def test_one_trace_leads_from_the_submit_to_the_receiver(
    fleet: Fleet, collector: TraceCollector, producer: InMemorySpanExporter
) -> None:
    with closing(Receiver()) as receiver, fleet.client() as client:
        with trace.get_tracer("shop").start_as_current_span("order") as order:
            job_id = client.submit("a red fox", webhook={"url": receiver.url})
        result = client.result(job_id, timeout_s=60).raise_for_status()
        (received,) = receiver.wait_for(1, timeout_s=20)
    ours = f"{order.get_span_context().trace_id:032x}"
    delivery = wait_until(lambda: collector.named("delivery").get(ours), 20)
    attempt = wait_until(lambda: collector.named("attempt").get(ours), 20)
    submit = next(span for span in producer.get_finished_spans() if span.name == "imagefleet.submit")

    assert submit.parent is not None
    assert submit.context is not None
    assert submit.parent.span_id == order.get_span_context().span_id
    assert attempt.parent == f"{submit.context.span_id:016x}"
    assert (attempt.attributes["job_id"], attempt.attributes["model"]) == (job_id, "default")
    assert delivery.parent == attempt.id
    assert received.headers["traceparent"].split("-")[1:3] == [ours, delivery.id]
    for phase in ("queued", "denoise", "decode", "encode", "upload"):
        span = collector.named(phase)[ours]
        assert span.parent == attempt.id
        assert span.seconds == pytest.approx(getattr(result.timings, f"{phase}_s"), abs=0.02)


def test_log_lines_of_a_job_name_it_its_model_its_device_and_its_trace(fleet: Fleet, collector: TraceCollector) -> None:
    with fleet.client() as client:
        job_id = client.submit("a paper boat")
        result = client.result(job_id, timeout_s=60)

    def line() -> dict[str, str] | None:
        """The log has a line of the job."""
        return next((line for line in log_of(fleet, "gpu0") if line.get("job_id") == job_id), None)

    ended = wait_until(line, 20)
    assert ended is not None
    assert (ended["event"], ended["model"], ended["device"]) == ("job ended", "default", result.device)
    assert wait_until(lambda: collector.named("attempt").get(ended["trace_id"]), 20).attributes["job_id"] == job_id


def test_the_log_says_what_a_worker_serves_when_it_opens(fleet: Fleet) -> None:
    (opened,) = [line for line in log_of(fleet, "gpu0") if line["event"] == "worker opened"]
    (hooks,) = [line for line in log_of(fleet, "hooks") if line["event"] == "worker opened"]
    with fleet.client() as client:
        worker = next(each for each in client.workers() if each.name.startswith("gpu0"))
    assert (opened["model"], opened["revision"], opened["device_name"]) == ("default", worker.revision, worker.device)
    assert (opened["queues"], opened["mode"], opened["joining"]) == ("imagefleet.default", worker.mode, worker.joining)
    assert (hooks["queues"], "model" in hooks) == ("imagefleet.webhooks", False)
    moments = {line["timestamp"][10:11] + line["timestamp"][-1] for line in log_of(fleet, "gpu0")}
    assert moments == {"TZ"}, "one format of times, in UTC"


def test_an_attempt_that_fails_says_so_in_its_span(fleet: Fleet, collector: TraceCollector) -> None:
    with fleet.client() as client:
        job_id = client.submit("a tram", scheduler="NoSuchScheduler")
        client.result(job_id, timeout_s=60)

    def found() -> Seen | None:
        """The span of the job is there."""
        return next(
            (each for each in collector.spans if each.attributes.get("job_id") == job_id and each.is_error), None
        )

    assert wait_until(found, 20).attributes["error.type"] == "invalid_job"


def test_without_opentelemetry_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_otel", lambda: None)
    with tracing.span("a", kind="INTERNAL", job_id="b"), worker_tracing.attempt({}, job_id="b", model="c", device="d"):
        tracing.fail("x", "y")
        tracing.child_spans({"a": 1.0})
        assert tracing.carrier() == {}
        assert tracing.trace_id() == ""


@pytest.mark.parametrize("value", [None, 3, "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_header_that_is_no_trace_is_as_none(producer: InMemorySpanExporter, value: Any) -> None:
    producer.clear()
    with tracing.span("mine", kind="INTERNAL", parent={"traceparent": value}):
        pass
    (span,) = producer.get_finished_spans()
    assert span.parent is None
