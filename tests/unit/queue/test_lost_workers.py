"""What a message carries of lost workers, and what follows from it."""

import json
from typing import Any

import pytest

from imagefleet.contract.queues import LOST_WORKERS_HEADER, REDELIVERIES_HEADER
from imagefleet_worker.queue.lost_workers import (
    LostWorker,
    concurrency_limit,
    concurrency_limit_of,
    count_redelivery,
    is_culprit,
    losses_in,
)

MESSAGE = json.dumps({"headers": {"id": "one"}, "body": "x"})


def loss(*, jobs: int = 1, at: float = 1_000.0, **more: Any) -> LostWorker:
    return LostWorker(worker="gpu0@a", device="H100", entered=at - 60, at=at, jobs=jobs, **more)


def redelivered(message: str, *losses: LostWorker | None, window_s: float = 100) -> dict[str, Any]:
    """The headers of *message* after so many redeliveries."""
    for each in losses:
        message = count_redelivery(message, each.model_dump_json() if each else "", window_s=window_s)
    headers: dict[str, Any] = json.loads(message)["headers"]
    return headers


def test_a_batch_runs_in_halves_until_each_job_is_alone() -> None:
    """The sizes of the batches in which the job's workers were lost, and how many may share a device after each."""
    limits = [concurrency_limit([loss(jobs=jobs) for jobs in (16, 8, 4, 2, 1)[:count]]) for count in range(6)]

    assert limits == [None, 8, 4, 2, 1, 1]


def test_a_batch_that_grew_again_is_halved_all_the_same() -> None:
    """Jobs that wait for their turn on a device are counted, too."""
    assert concurrency_limit([loss(jobs=16)] * 4) == 1


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [((1, 1), False), ((1, 1, 1), True), ((16, 8, 4), False), ((16, 8, 4, 2), False), ((16, 8, 4, 2, 1), True)],
)
def test_a_job_is_the_culprit_only_if_it_was_alone_at_last(jobs: tuple[int, ...], *, expected: bool) -> None:
    assert is_culprit([loss(jobs=each) for each in jobs], most=3) is expected


def test_a_redelivery_without_the_device_is_held_against_nobody() -> None:
    headers = redelivered(MESSAGE, None, None, None)

    assert headers == {"id": "one", REDELIVERIES_HEADER: 3}


def test_losses_count_within_a_window() -> None:
    headers = redelivered(MESSAGE, loss(at=1_000), loss(at=1_090), loss(at=1_150))

    assert [each.at for each in losses_in(headers[LOST_WORKERS_HEADER])] == [1_090, 1_150]
    assert headers[REDELIVERIES_HEADER] == 3


def test_a_message_carries_its_limit() -> None:
    changed = count_redelivery(MESSAGE, loss(jobs=9).model_dump_json(), window_s=100)

    assert concurrency_limit_of(changed) == 4
    assert concurrency_limit_of(MESSAGE) is None


@pytest.mark.parametrize("header", [None, "x", 7, {}, [1], [{"worker": "x"}], [{"jobs": "many"}]])
def test_what_others_write_into_the_header_is_no_loss(header: object) -> None:
    assert losses_in(header) == ()
    text = json.dumps({"headers": {LOST_WORKERS_HEADER: header}})
    assert concurrency_limit_of(text) is None
    assert len(losses_in(redelivered(text, loss())[LOST_WORKERS_HEADER])) == 1


@pytest.mark.parametrize("message", ["hello", "[1]", '{"headers": 7}', "", "[" * 100_000])
def test_what_is_no_message_stays_as_it_is(message: str) -> None:
    assert count_redelivery(message, window_s=100) == message


def test_a_loss_is_described_for_a_person() -> None:
    silent = loss(jobs=4, steps="3/20").describe()
    told = loss(ended="CUDA error: an illegal memory access was encountered").describe()

    assert silent == (
        "gpu0@a (H100), since 1970-01-01 00:15:40 UTC with 3 other jobs, at step 3/20: "
        "silent until its lease had run out at 1970-01-01 00:16:40 UTC; how it ended is not known"
    )
    assert told == (
        "gpu0@a (H100), since 1970-01-01 00:15:40 UTC with no other job, before a step was reported: "
        "CUDA error: an illegal memory access was encountered"
    )
