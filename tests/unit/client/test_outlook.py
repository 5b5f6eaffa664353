"""A job's place in line and its time, from counts and speeds."""

from datetime import UTC, datetime
from typing import Any

import pytest

from imagefleet import JobNotFound, JobStatus, RunningJob, Worker, WorkerState
from imagefleet.client.outlook import QueuePlace, left_s, outlook, position_of, wait_s, working
from imagefleet.store.keys import Keys

QUEUE = "imagefleet.default"


def worker(jobs_per_s: float | None, *, running: int = 0, **fields: Any) -> Worker:
    jobs = tuple(RunningJob(id=str(number)) for number in range(running))
    told = {"id": "w", "name": "gpu0@host", "host": "host", "pid": 1, "state": "ready", "queues": (QUEUE,)}
    told |= {"model": "default", "started_at": datetime.now(UTC), "images_per_s": 0.5}
    return Worker.model_validate({**told, "jobs": jobs, "jobs_per_s": jobs_per_s, **fields})


def look(record: list[Any], *workers: Worker, counts: list[int] | None = None) -> Any:
    """The outlook of a job with that record, and whether its place was asked for."""
    operation = outlook(Keys(), "a")
    reading, *_ = next(operation)
    assert reading[0] == "HMGET"
    said = ["1000.0", *(each for one in workers for each in (one.model_dump_json(), "0.5"))]
    try:
        operation.send([record, said, [QUEUE]])
        operation.send([counts])
    except StopIteration as done:
        return done.value
    raise AssertionError


@pytest.mark.parametrize(
    ("counts", "position"),
    [
        ([0, 1, 0, 1], 1),
        ([0, 40, 0, 17], 17),
        ([5, 40, 0, 17], 22),
        ([0, 40, 3, 4], 12),  # three lanes take turns
        ([0, 40, 3, 17], 40),  # and there is no more than there is
        ([2, 0, 0, 0], 3),  # a worker has just taken it
        ([0, 3, 0, -4], 1),
    ],
)
def test_the_place_is_what_is_more_urgent_and_what_goes_first(counts: list[int], position: int) -> None:
    assert position_of(counts) == position


@pytest.mark.parametrize(
    ("position", "workers", "seconds"),
    [
        (10, [worker(2.0)], 5),
        (10, [worker(2.0, running=4)], 7),  # they end first
        (10, [worker(2.0), worker(3.0, running=5)], 3),
        (1, [worker(0.5)] * 4, 2),  # a job takes one worker's time, however many are idle
        (10, [worker(None), worker(2.0)], 5),
        (10, [worker(None)], None),
        (10, [], None),
    ],
)
def test_the_time_is_that_of_what_goes_first(position: int, workers: list[Worker], seconds: float | None) -> None:
    assert wait_s(position, workers) == seconds


def test_only_workers_of_the_queue_that_take_jobs_count() -> None:
    taking = [worker(1.0), worker(1.0, state=WorkerState.BUSY)]
    gone = [worker(1.0, state=state) for state in ("loading", "draining", "silent")]
    assert working([*taking, *gone, worker(1.0, queues=("imagefleet.other",))], QUEUE) == taking


def test_a_time_that_is_past_is_now() -> None:
    now = datetime.fromtimestamp(1000, UTC)
    assert (left_s(1012.5, now), left_s(990, now)) == (12.5, 0)


def test_a_place_is_read_back() -> None:
    assert QueuePlace.parse("2/17") == QueuePlace(2, 17, "")
    assert QueuePlace.parse("1/4/acme:eu") == QueuePlace(1, 4, "acme:eu")
    assert QueuePlace.parse(None) is None


def test_a_queued_job_has_a_place_and_a_time() -> None:
    seen = look(["queued", "default", None, "2/17", None, None], worker(2.0), counts=[0, 8, 0, 8])
    assert (seen.status, seen.position, seen.images_per_s, seen.eta_s) == (JobStatus.QUEUED, 8, 0.5, 4)


@pytest.mark.parametrize(
    "record",
    [
        ["queued", "default", None, None, None, None],  # of an older client
        ["queued", "default", "1", "2/17", None, None],  # waits for another attempt
        ["succeeded", "default", "1", None, None, None],
        ["running", "default", "1", "2/17", None, None],  # before its first step
        ["running", "default", "2", "2/17", None, "1009.5"],  # a time of the attempt before
    ],
)
def test_what_is_not_known_is_not_told(record: list[Any]) -> None:
    seen = look(record, worker(2.0))
    assert (seen.position, seen.eta_s) == (None, None)
    assert seen.images_per_s == 0.5


def test_without_a_worker_there_is_a_place_and_no_time() -> None:
    seen = look(["queued", "default", None, "2/17", None, None], counts=[0, 8, 0, 8])
    assert (seen.position, seen.images_per_s, seen.eta_s) == (8, None, None)


def test_a_running_job_has_what_its_worker_said() -> None:
    seen = look(["running", "default", "1", "2/17", "4/20", "1009.5"], worker(2.0))
    assert (seen.position, seen.eta_s) == (None, 9.5)


def test_an_unknown_job_is_not_found() -> None:
    with pytest.raises(JobNotFound):
        look([None] * 6)
