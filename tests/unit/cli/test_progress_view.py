"""The bars of `imagefleet submit --wait` and of `make demo`."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console
from tests import demo

from imagefleet import JobEvent, JobResult, JobStatus, Progress
from imagefleet.cli.progress_view import Bars
from imagefleet.contract.jobs import ImageFormat
from imagefleet.contract.results import Artifact, JobError

AT = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def shown(*events: JobEvent) -> str:
    """The last state of the bars after *events*, with single spaces."""
    console = Console(width=80, force_terminal=True, color_system=None, file=(file := io.StringIO()))
    bars = Bars(console, {event.id: event.id for event in events})
    for event in events:
        bars.show(event)
    console.print(bars.progress.get_renderable())
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize(
    ("before", "count"), [(Progress(17, 20), " 20/20"), (None, "")], ids=["in the middle", "without any progress"]
)
def test_a_job_that_succeeded_has_a_full_bar(before: Progress | None, count: str) -> None:
    result = JobResult(id="a", status=JobStatus.SUCCEEDED, finished_at=AT)
    text = shown(JobEvent("a", JobStatus.RUNNING, before), JobEvent("a", JobStatus.SUCCEEDED, None, result))
    assert f"a ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━{count} 0:00:00 succeeded" in text.replace("━ ", "━ ")


def test_a_job_that_failed_keeps_the_steps_that_it_did() -> None:
    error = JobError(code="out_of_memory", message="it does not fit", retryable=False)
    result = JobResult(id="a", status=JobStatus.FAILED, error=error, finished_at=AT)
    text = shown(JobEvent("a", JobStatus.RUNNING, Progress(17, 20)), JobEvent("a", JobStatus.FAILED, None, result))
    assert "17/20 0:00:00 failed: it does not fit" in text


def test_a_long_reason_takes_no_room_from_the_other_columns() -> None:
    error = JobError(code="invalid_job", message="choose one of " + "DDIMScheduler, " * 20, retryable=False)
    result = JobResult(id="a", status=JobStatus.FAILED, error=error, finished_at=AT)
    text = shown(JobEvent("a", JobStatus.FAILED, None, result))
    assert "1 job ━" in text
    assert "1/1 0:00:00" in text
    assert "failed: choose one of" in text


def test_the_table_of_the_demo_fits_80_columns() -> None:
    picture = Artifact(
        uri="s3://images/0.png",
        media_type="image/png",
        format=ImageFormat.PNG,
        width=96,
        height=96,
        seed=1,
        sha256="",
        size_bytes=1,
    )
    results = [
        JobResult(id=str(number), status=JobStatus.SUCCEEDED, artifacts=(picture,), finished_at=AT, worker="cpu0@host")
        for number in range(len(demo.JOBS))
    ]
    table = demo.table_of(results, {result.id: "job.succeeded" for result in results})
    assert Console(width=200).measure(table).maximum <= 80
