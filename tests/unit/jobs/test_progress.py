"""The time that the steps of a running job still need, from its worker to the bars."""

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from imagefleet import JobEvent, JobStatus, Progress
from imagefleet.cli.formats import about
from imagefleet.cli.progress_view import Bars
from imagefleet.contract.jobs import GenerationJob
from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.progress import AttemptProgress, ProgressPublisher
from imagefleet_worker.jobs.progress_webhooks import UpdateWebhooks
from imagefleet_worker.observability.metrics import Metrics


class Pipe:
    """Takes the place of redis-py's client and of its pipeline; counts commands, and says that nobody has canceled."""

    def __init__(self) -> None:
        self.commands: list[Any] = []
        self.sent = threading.Event()

    def pipeline(self, **_: Any) -> "Pipe":
        return self

    def execute_command(self, *command: Any) -> None:
        self.commands.append(command)

    def execute(self) -> list[int]:
        self.sent.set()
        return [0] * len(self.commands)


class Kept(ProgressPublisher):
    """Keeps what is posted, and sends nothing."""

    def __init__(self) -> None:
        self.left: list[float | None] = []

    def post(self, *_: Any, left_s: float | None = None, **__: Any) -> None:
        self.left.append(left_s)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        # (seconds, done) of 10
        ([(5, 1), (6, 2), (8, 3), (14, 10)], [None, 8, 10.5, 0]),  # what comes before the first step is not a step
        ([(5, 1), (6, 2), (7, 1), (10, 2)], [None, 8, None, 24]),  # begun again, as after running out of memory
        ([(5, 10)], [0]),
    ],
)
def test_the_pace_is_counted_from_the_first_step(steps: list[tuple[float, int]], left: list[float | None]) -> None:
    now, kept = 0.0, Kept()
    updates = UpdateWebhooks("a", GenerationJob(prompt="a"), attempts=1, worker="w", interval_s=1)
    progress = AttemptProgress(
        "a", publisher=kept, metrics=Metrics(model="default"), updates=updates, clock=lambda: now
    )
    for now, done in steps:  # noqa: B007  # the clock reads it
        progress.step(done, 10)
    assert kept.left == left


def test_nothing_is_sent_of_an_attempt_that_is_over() -> None:
    redis: Any = Pipe()
    publisher = ProgressPublisher(redis, keys=Keys(""), interval_s=0, on_cancel=lambda _: None)
    updates = UpdateWebhooks("a", GenerationJob(prompt="a"), attempts=1, worker="w", interval_s=1)
    over, running = (
        AttemptProgress(job_id, publisher=publisher, metrics=Metrics(model="default"), updates=updates)
        for job_id in ("over", "running")
    )
    over.step(1, 4)
    running.step(1, 4)
    over.end()
    publisher.start()
    assert redis.sent.wait(10)
    publisher.stop()
    assert [Keys("").job("running") in command for command in redis.commands] == [True]


def test_the_bars_show_it_while_the_job_runs() -> None:
    file = io.StringIO()
    job_id = "0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11"
    console = Console(width=80, force_terminal=True, color_system=None, file=file)
    bars = Bars(console, {job_id: job_id})
    bars.show(JobEvent(job_id, JobStatus.RUNNING, Progress(3, 20), left_s=609.7))
    console.print(bars.progress.get_renderable())
    assert "3/20 0:00:00 running, 10m left" in " ".join(file.getvalue().split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.2, "1s"),
        (97.5, "98s"),
        (99, "2m"),
        (610, "10m"),
        (98 * 60, "98m"),
        (99 * 60, "2h"),
        (40000, "11h"),
    ],
)
def test_an_estimate_is_short(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_an_event_with_another_time_only_is_the_same_event() -> None:
    """A record that is read again has none, and must not be told twice."""
    told = JobEvent("a", JobStatus.RUNNING, Progress(3, 20), left_s=4)
    assert told == JobEvent("a", JobStatus.RUNNING, Progress(3, 20))
