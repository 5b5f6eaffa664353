"""Failures in a row: when a worker tests itself, what follows, and which jobs are tried once more."""

from typing import Any, NoReturn

import pytest

from imagefleet.contract.jobs import GenerationJob
from imagefleet.store.records import Claim
from imagefleet_worker.errors import GenerationFailed, JobCanceled, OutOfMemory, StorageUnavailable
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.jobs.others import Others
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.jobs.self_test import Sickness
from imagefleet_worker.jobs.watched_image_maker import WatchedImageMaker

JOB = GenerationJob(prompt="a fox")
SICK = Sickness(ExitCode.DEVICE_FAULT, "broken")


class Left(BaseException):
    """In the place of the end of the process."""


class Worker:
    """A watched image maker whose next outcomes are given; it writes down what it is told."""

    def __init__(self, *, others: Others | None = None, sickness: Sickness | None = None) -> None:
        self.outcomes: list[Exception | None] = []
        self.tests = 0
        self.holds: list[bool] = []
        self.others = others or Others()
        self.comparisons = 0
        self._sickness = sickness
        self.watched = WatchedImageMaker(
            self,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # it has what is called
            self_test=self._test,
            most_failures=3,
            compare=self._compare,
            hold=self.holds.append,
            leave=self._leave,
        )

    def generate(self, *_: Any, **__: Any) -> Any:
        """What an image maker does."""
        outcome = self.outcomes.pop(0)
        if outcome:
            raise outcome

    def run(self, *outcomes: Exception | None, number: int = 1) -> list[BaseException | None]:
        """What the attempts that end so end with."""
        self.outcomes = list(outcomes)
        return [self._attempt(number) for _ in outcomes]

    def _attempt(self, number: int) -> BaseException | None:
        attempt = RunningAttempt("job", claim=Claim("token", "owner"))
        attempt.number = number
        try:
            self.watched.generate(JOB, attempt, progress=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # unused
        except (Exception, Left) as error:  # noqa: BLE001  # what it is, is what the test is about
            return error
        return None

    def _compare(self) -> Others:
        self.comparisons += 1
        return self.others

    def _test(self) -> Sickness | None:
        self.tests += 1
        return self._sickness

    def _leave(self, sentence: str, code: ExitCode) -> NoReturn:
        raise Left(code, sentence)


def failed() -> GenerationFailed:
    return GenerationFailed("no image")


def test_three_failures_in_a_row_make_a_worker_test_itself() -> None:
    worker = Worker()

    worker.run(failed(), failed(), None, failed(), failed())
    assert worker.tests == 0
    worker.run(OutOfMemory("full"))

    assert (worker.tests, worker.holds) == (1, [True, False])


def test_a_sick_worker_leaves_before_the_failure_is_recorded() -> None:
    ends = Worker(sickness=SICK).run(failed(), failed(), failed())

    assert isinstance(ends[2], Left)
    assert ends[2].args == (SICK.code, "broken; no other worker serves the model")


def test_a_worker_says_of_the_others_what_it_saw_before_it_left() -> None:
    ends = Worker(sickness=SICK, others=Others(well=2, failing=1)).run(failed(), failed(), failed())

    assert isinstance(ends[2], Left)
    assert ends[2].args[1] == "broken; jobs fail in a row at 1 of 3 other workers"


def test_while_jobs_fail_everywhere_tests_are_rare() -> None:
    """The jobs, or what all workers share, are at fault; one that is well again changes that."""
    worker = Worker(others=Others(failing=2))

    worker.run(*(failed() for _ in range(9)))
    assert worker.tests == 1
    worker.others = Others(well=1, failing=1)
    worker.run(failed())

    assert worker.tests == 2


def test_jobs_that_succeed_cost_no_comparison() -> None:
    worker = Worker(others=Others(well=1))

    worker.run(None, None, None)
    assert worker.comparisons == 0
    worker.run(failed(), failed())
    assert (worker.comparisons, worker.watched.failures_in_a_row()) == (2, 2)
    worker.run(None)

    assert (worker.comparisons, worker.watched.failures_in_a_row()) == (2, 0)


def test_a_test_that_passes_begins_the_count_anew() -> None:
    worker = Worker()

    worker.run(*(failed() for _ in range(5)))
    assert worker.tests == 1
    worker.run(failed())

    assert worker.tests == 2


@pytest.mark.parametrize("nobodys", [JobCanceled("no"), StorageUnavailable("away")])
def test_what_is_nobodys_fault_does_not_count(nobodys: Exception) -> None:
    worker = Worker()

    ends = worker.run(nobodys, nobodys, nobodys)

    assert (worker.tests, ends) == (0, [nobodys] * 3)


def test_an_error_of_this_package_counts() -> None:
    worker = Worker()
    worker.run(KeyError("x"), KeyError("x"), KeyError("x"))
    assert worker.tests == 1


@pytest.mark.parametrize(("has_peers", "number", "retryable"), [(True, 1, True), (True, 2, False), (False, 1, False)])
def test_a_job_is_tried_once_more_if_there_is_an_elsewhere(has_peers: bool, number: int, retryable: bool) -> None:  # noqa: FBT001  # pytest's
    """Under the code of its failure, which is recorded if there is no time for a retry."""
    (end,) = Worker(others=Others(well=1) if has_peers else None).run(failed(), number=number)

    assert isinstance(end, Exception)
    assert (getattr(end, "code", ""), getattr(end, "retryable", None)) == ("generation_failed", retryable)
    assert str(end) == "no image"
