"""Why a job waits is said once, and not asked for again."""

from imagefleet import JobEvent, JobStatus
from imagefleet.cli.waits import Waits
from imagefleet.client.outlook import Outlook
from imagefleet.errors import QueueUnavailable

WHY = "no worker serves photo now; start one, or wait until one is started"


def test_each_reason_is_said_once() -> None:
    said: list[str] = []
    waits = Waits(lambda job_id: Outlook(job_id, JobStatus.QUEUED, None, None, None, WHY), said.append)
    for job_id in ("a", "b", "a"):
        waits.note(JobEvent(job_id, JobStatus.QUEUED, None))
    assert said == [f"{WHY}; the job waits"]


def test_jobs_that_run_are_not_asked_for_and_an_outage_says_nothing() -> None:
    asked: list[str] = []

    def look(job_id: str) -> Outlook:
        asked.append(job_id)
        raise QueueUnavailable("Redis is away")

    waits = Waits(look, asked.append)
    waits.note(JobEvent("a", JobStatus.RUNNING, None))
    waits.note(JobEvent("b", JobStatus.QUEUED, None))
    assert asked == ["b"]


def test_of_many_jobs_the_first_twelve_are_asked_for() -> None:
    asked: list[str] = []

    def look(job_id: str) -> Outlook:
        asked.append(job_id)
        return Outlook(job_id, JobStatus.QUEUED, None, None, None)

    waits = Waits(look)
    for number in range(50):
        waits.note(JobEvent(str(number), JobStatus.QUEUED, None))
    assert len(asked) == 12
