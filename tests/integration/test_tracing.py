"""One trace from the submit to the receiver of the webhook, collected over OTLP from three real processes."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import wait_until_ready
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import tracing
from imagefleet_worker import tracing as worker_tracing


class Seen(NamedTuple):
    """A span that a worker sent."""

    name: str
    trace: str
    id: str
    parent: str
    seconds: float
    attributes: dict[str, str]
    is_error: bool


class Collector:
    """Takes spans as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def named(self, name: str) -> dict[str, Seen]:
        """The spans of that name by trace."""
        return {span.trace: span for span in list(self.spans) if span.name in (f"imagefleet.{name}", name)}

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Seen(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        attributes={each.key: each.value.string_value for each in span.attributes},
                        is_error=span.status.code == 2,
                    )
                    for span in scope.spans
                ]


@pytest.fixture(scope="module")
def producer() -> InMemorySpanExporter:
    """The spans of this process; a process has one provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with closing(Collector()) as collector:
        yield collector


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Fleet]:
    env = {"IMAGEFLEET_TRACING_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    env["IMAGEFLEET_WORKER_LOG_FORMAT"] = "json"
    with running_fleet(tmp_path_factory.mktemp("fleet"), env=env) as fleet:
        children = [fleet.start("gpu0"), fleet.start("hooks", options=("-Q", "imagefleet.webhooks"))]
        for child in children:
            wait_until_ready(child)
        yield fleet


def test_one_trace_leads_from_the_submit_to_the_receiver(
    fleet: Fleet, collector: Collector, producer: InMemorySpanExporter
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


def test_log_lines_of_a_job_name_it_its_model_its_device_and_its_trace(fleet: Fleet, collector: Collector) -> None:
    with fleet.client() as client:
        job_id = client.submit("a paper boat")
        result = client.result(job_id, timeout_s=60)

    def line() -> dict[str, str] | None:
        """The log has a line of the job."""
        lines = [json.loads(text) for text in (fleet.folder / "gpu0.log").read_text().splitlines() if text[:1] == "{"]
        return next((line for line in lines if line.get("job_id") == job_id), None)

    ended = wait_until(line, 20)
    assert ended is not None
    assert (ended["event"], ended["model"], ended["device"]) == ("job ended", "default", result.device)
    assert wait_until(lambda: collector.named("attempt").get(ended["trace_id"]), 20).attributes["job_id"] == job_id


def test_an_attempt_that_fails_says_so_in_its_span(fleet: Fleet, collector: Collector) -> None:
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
        tracing.parts({"a": 1.0})
        assert tracing.carrier() == {}
        assert tracing.trace_id() == ""


@pytest.mark.parametrize("value", [None, 3, "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_header_that_is_no_trace_is_as_none(producer: InMemorySpanExporter, value: Any) -> None:
    producer.clear()
    with tracing.span("mine", kind="INTERNAL", parent={"traceparent": value}):
        pass
    (span,) = producer.get_finished_spans()
    assert span.parent is None
