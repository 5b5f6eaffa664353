"""What the metrics page says."""

import math
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.support.needs import missing

from imagefleet.contract.results import JobError, JobResult, JobStatus, Timings
from imagefleet.store.keys import Keys
from imagefleet_worker.observability.collector import Sources
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.queue.leases import Leases

#: Every name that dashboards and alerts may use; a counter's family is called without `_total`.
NAMES = {
    "imagefleet_build_info": "gauge",
    "imagefleet_dead_letters": "gauge",
    "imagefleet_delayed": "gauge",
    "imagefleet_device_busy_seconds": "counter",
    "imagefleet_device_memory_bytes": "gauge",
    "imagefleet_forward_rows": "counter",
    "imagefleet_graph_replays": "counter",
    "imagefleet_text_rows": "counter",
    "imagefleet_text_rows_reused": "counter",
    "imagefleet_joining_refused": "gauge",
    "imagefleet_calls_left_behind": "counter",
    "imagefleet_forwards": "counter",
    "imagefleet_job_seconds": "histogram",
    "imagefleet_jobs": "counter",
    "imagefleet_job_warnings": "counter",
    "imagefleet_leases_held": "gauge",
    "imagefleet_leases_lost": "counter",
    "imagefleet_queue_demand": "gauge",
    "imagefleet_queue_depth": "gauge",
    "imagefleet_queue_oldest_seconds": "gauge",
    "imagefleet_queue_running": "gauge",
    "imagefleet_redeliveries": "counter",
    "imagefleet_start_seconds": "gauge",
    "imagefleet_steps": "counter",
    "imagefleet_webhook_deliveries": "counter",
}


def result(code: str = "", **timings: float) -> JobResult:
    """A job's end."""
    return JobResult(
        id="a",
        status=JobStatus.FAILED if code else JobStatus.SUCCEEDED,
        error=JobError(code=code, message="It was asked to.", retryable=False) if code else None,
        timings=Timings(**timings),
        finished_at=datetime.now(UTC),
    )


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a worker that has made two jobs and failed one."""
    leases = Leases(redis.Redis(), keys=Keys(), duration_s=30)
    leases.thread.lost = 1
    leases.redelivery.count = 2
    sources = Sources(
        engine=lambda: {
            "forwards": 12,
            "rows": 40,
            "calls": 30,
            "busy_seconds": 2.5,
            "jobs": 1,
            "graph_replays": 7,
            "text_rows": 9,
            "text_rows_reused": 5,
            "joining_refused": 1.0,
            "left_behind_shape": 3.0,
            "left_behind_budget": 2.0,
        },
        memory=lambda: {"allocated": 1e9, "reserved": 2e9},
        leases=leases,
    )
    metrics = Metrics(model="sdxl", sources=sources)
    metrics.job_ended(result(queued_s=0.2, generate_s=1.5, denoise_s=1.2, decode_s=0.3, encode_s=0.01, upload_s=0.3))
    metrics.job_ended(result(generate_s=3))
    metrics.job_ended(result("out_of_memory", generate_s=3))
    for _ in range(5):
        metrics.stepped()
    metrics.webhook("delivered")
    return metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    """The page as Prometheus reads it."""
    return {family.name: family for family in text_string_to_metric_families(metrics.page().decode())}


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """The value of one line of the page."""
    lines = [line for family in families(metrics).values() for line in family.samples if line.name == sample]
    return next((line.value for line in lines if line.labels == labels), None)


def test_every_name_has_its_type_and_a_meaning_from_the_start() -> None:
    """Also on the page of a process that has opened nothing yet; and there are no others."""
    found = families(Metrics(model="sdxl"))

    assert {name: family.type for name, family in found.items()} == NAMES
    assert all(family.documentation.endswith(".") for family in found.values())


def test_the_documentation_has_every_name() -> None:
    """And in its expressions no other."""
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(imagefleet_\w+)` \| (\w+) \|", text, re.MULTILINE))

    assert {f"{name}_total" if kind == "counter" else name: kind for name, kind in NAMES.items()} == rows
    used = {name.removesuffix("_bucket") for name in re.findall(r"imagefleet_[a-z_]+", text)}
    assert used == set(rows)


def test_the_page_says_whether_jobs_are_joined_and_why_calls_were_not(metrics: Metrics) -> None:
    assert value(metrics, "imagefleet_joining_refused") == 1
    assert value(metrics, "imagefleet_graph_replays_total") == 7
    assert value(metrics, "imagefleet_text_rows_total") == 9
    assert value(metrics, "imagefleet_text_rows_reused_total") == 5
    assert value(metrics, "imagefleet_calls_left_behind_total", reason="shape") == 3
    assert value(metrics, "imagefleet_calls_left_behind_total", reason="budget") == 2


def test_jobs_are_counted_by_how_they_ended(metrics: Metrics) -> None:
    """With the error's code, and none for a success."""
    assert value(metrics, "imagefleet_jobs_total", model="sdxl", status="succeeded", code="") == 2
    assert value(metrics, "imagefleet_jobs_total", model="sdxl", status="failed", code="out_of_memory") == 1


@pytest.mark.parametrize(
    ("phase", "count", "total"),
    [
        ("queued", 1, 0.2),
        ("generate", 2, 4.5),
        ("denoise", 1, 1.2),
        ("decode", 1, 0.3),
        ("encode", 1, 0.01),
        ("upload", 1, 0.3),
    ],
)
def test_phases_are_those_of_jobs_that_succeeded(metrics: Metrics, phase: str, count: int, total: float) -> None:
    """A time that is not known counts as none, not as zero."""
    labels = {"model": "sdxl", "phase": phase}
    assert value(metrics, "imagefleet_job_seconds_count", **labels) == count
    assert math.isclose(value(metrics, "imagefleet_job_seconds_sum", **labels) or 0, total)


@pytest.mark.parametrize(
    ("sample", "labels", "expected"),
    [
        ("imagefleet_device_busy_seconds_total", {}, 2.5),
        ("imagefleet_forwards_total", {}, 12),
        ("imagefleet_forward_rows_total", {}, 40),
        ("imagefleet_steps_total", {}, 5),
        ("imagefleet_leases_held", {}, 0),
        ("imagefleet_leases_lost_total", {}, 1),
        ("imagefleet_redeliveries_total", {}, 2),
        ("imagefleet_webhook_deliveries_total", {"outcome": "delivered"}, 1),
        ("imagefleet_webhook_deliveries_total", {"outcome": "given_up"}, 0),
        ("imagefleet_device_memory_bytes", {"kind": "reserved"}, 2e9),
    ],
)
def test_the_page_says_what_the_parts_say(
    metrics: Metrics, sample: str, labels: dict[str, str], expected: float
) -> None:
    """Read when the page is, from whatever is open by then."""
    assert value(metrics, sample, **labels) == expected


def test_build_info_has_the_versions(metrics: Metrics) -> None:
    """Without loading what it names."""
    (sample,) = families(metrics)["imagefleet_build_info"].samples
    assert set(sample.labels) == {"version", "torch", "diffusers"}
    assert all(sample.labels.values())


@pytest.mark.parametrize("nonsense", [None, "a result", 3])
def test_counting_never_fails_a_job(metrics: Metrics, nonsense: Any) -> None:
    """Whatever it is called with."""
    before = families(metrics)["imagefleet_jobs"].samples
    metrics.job_ended(nonsense)
    assert before == families(metrics)["imagefleet_jobs"].samples


def test_prometheus_own_linter_finds_nothing(metrics: Metrics) -> None:
    """Names, units and types are as Prometheus wants them."""
    promtool = shutil.which("promtool") or missing("promtool (Debian: prometheus)")
    check = subprocess.run([promtool, "check", "metrics"], input=metrics.page(), capture_output=True, check=False)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")
