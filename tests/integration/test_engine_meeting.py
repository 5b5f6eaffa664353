"""The meeting point by itself: all kinds of jobs come and go at once, each gets its own rows, none waits for ever."""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from imagefleet_worker import baton
from imagefleet_worker import meeting as meeting_module
from imagefleet_worker.budget import Budget
from imagefleet_worker.meeting import MeetingPoint
from imagefleet_worker.seats import Seat

ENOUGH_S = 60


class Doubler(torch.nn.Module):
    """Twice its input."""

    def forward(self, sample: torch.Tensor, scale: torch.Tensor, *, return_dict: bool = True) -> tuple[torch.Tensor]:
        """A tuple of one, as the denoisers give it."""
        assert not return_dict
        if bool((sample > 1e6).any()):
            raise ValueError("too large")
        return (sample * scale.reshape(-1, 1),)


@pytest.fixture
def doubler() -> Doubler:
    """A module that nobody else uses."""
    return Doubler()


def call(module: Doubler, value: float, *, rows: int = 2, width: int = 3) -> torch.Tensor:
    """What the module makes of *value*, which must be its double."""
    with torch.no_grad():
        (output,) = module(torch.full((rows, width), value), torch.tensor(2.0), return_dict=False)
    assert output.shape == (rows, width)
    assert (output == 2 * value).all(), (value, output)
    return output


def run_all(jobs: list[Callable[[], object]]) -> list[BaseException]:
    """Run each of *jobs* on a thread; gives what they raised. Fails where one does not come to its end."""
    raised: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # given to the caller
            raised.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ENOUGH_S
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert not [thread for thread in threads if thread.is_alive()], "a job waits for ever"
    return raised


def a_job(module: Doubler, meeting: MeetingPoint, dice: random.Random, *, number: int) -> Callable[[], object]:
    """A job like no other: how many steps, how wide, how fast, whether it alternates, leaves early, or fails."""
    steps, widths = dice.randrange(1, 30), dice.choice([(3,), (5,), (3, 5)])
    pause_at, fail_at, leave_at = (dice.choice([dice.randrange(steps), -1, -1]) for _ in range(3))
    rows, pause_s = dice.randrange(1, 4), dice.choice([0.001, 0.03])

    def run() -> None:
        with meeting.seat(pixels=1) as seat:
            for step in range(steps):
                for width in widths:
                    call(module, number * 1000 + step, rows=rows, width=width)
                if step == pause_at:
                    threading.Event().wait(pause_s)
                if step == fail_at:
                    raise RuntimeError("enough")
                if step == leave_at:
                    meeting.leave(seat)

    return run


@pytest.mark.parametrize("threads", [2, 3, 8, 32])
@pytest.mark.parametrize("fixed_rows", [None, 4])
@pytest.mark.parametrize("has_clock", [True, False])
def test_jobs_of_all_kinds_end_with_their_own_rows(
    doubler: Doubler, monkeypatch: pytest.MonkeyPatch, threads: int, fixed_rows: int | None, *, has_clock: bool
) -> None:
    """Also where nobody's patience ends: each is woken by what it waits for."""
    if not has_clock:
        for module, name in (
            (meeting_module, "_LEAST_PATIENCE_S"),
            (meeting_module, "LONGEST_S"),
            (baton, "LONGEST_S"),
        ):
            monkeypatch.setattr(module, name, 3600)
    for seed in range(4):
        meeting = MeetingPoint(doubler, budget=Budget(max_rows=8, max_pixels=10_000), fixed_rows=fixed_rows)
        dice = random.Random(seed)

        def without_a_seat() -> None:
            for step in range(5):
                call(doubler, step)

        jobs = [a_job(doubler, meeting, dice, number=number) for number in range(threads)]
        raised = run_all([*jobs, without_a_seat])
        assert {str(error) for error in raised} <= {"enough"}
        assert not meeting._seats
        assert not meeting._pending
        assert not meeting._is_busy
        meeting.close()


def test_a_row_that_fails_fails_its_own_job_only(doubler: Doubler) -> None:
    meeting = MeetingPoint(doubler, budget=Budget(max_rows=64, max_pixels=10_000))

    def job(value: float) -> Callable[[], object]:
        def run() -> None:
            with meeting.seat(pixels=1):
                for step in range(20):
                    call(doubler, value if step == 10 else 1.0)

        return run

    raised = run_all([job(value) for value in (1, 2, 1e9, 3, 4)])
    assert [str(error) for error in raised] == ["too large"]


def test_a_step_wakes_each_job_once(doubler: Doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever runs the forward sleeps not at all."""
    naps: list[Seat] = []
    sleep = Seat.sleep

    def note(seat: Seat, *args: Any, **kwargs: Any) -> None:
        naps.append(seat)
        sleep(seat, *args, **kwargs)

    monkeypatch.setattr(Seat, "sleep", note)
    meeting = MeetingPoint(doubler, budget=Budget(max_rows=64, max_pixels=10_000))
    together, jobs, steps = threading.Barrier(8), 8, 100

    def run() -> None:
        with meeting.seat(pixels=1):
            together.wait()
            for step in range(steps):
                call(doubler, step)

    assert run_all([run] * jobs) == []
    assert len(naps) <= 1.1 * (jobs - 1) * steps


def test_steps_are_worked_on_one_at_a_time(doubler: Doubler) -> None:
    meeting = MeetingPoint(doubler, budget=Budget(max_rows=64, max_pixels=10_000))
    together, inside, most = threading.Barrier(8), [0], [0]
    counting = threading.Lock()

    def run() -> None:
        with meeting.seat(pixels=1):
            together.wait()
            for step in range(50):
                call(doubler, step)
                with counting:
                    inside[0] += 1
                    most.append(inside[0])
                os.sched_yield()  # lets any other go on that could
                with counting:
                    inside[0] -= 1

    assert run_all([run] * 8) == []
    assert sum(count > 1 for count in most) <= len(most) / 100  # but for the first steps, and what the machine delays


@pytest.mark.parametrize("slow", ["who ran the forward", "who did not", "all but one"])
def test_who_is_slow_in_a_step_holds_up_nobody(doubler: Doubler, slow: str) -> None:
    """While the first works on its step all others sleep: one of them looks up now and then, and another after it."""
    meeting = MeetingPoint(doubler, budget=Budget(max_rows=64, max_pixels=10_000))
    leaders = [0]
    lead = meeting._lead
    meeting._lead = lambda group, leader: (leaders.append(threading.get_ident()), lead(group, leader))  # type: ignore[method-assign]
    jobs = 5
    slow_jobs = threading.Semaphore(jobs - 1 if slow == "all but one" else 1)
    release, together, done = threading.Event(), threading.Barrier(jobs), threading.Semaphore(0)

    def is_slow() -> bool:
        is_leader = leaders[-1] == threading.get_ident()
        is_kind = slow == "all but one" or is_leader == (slow == "who ran the forward")
        return is_kind and slow_jobs.acquire(blocking=False)

    def run() -> None:
        with meeting.seat(pixels=1):
            together.wait()
            for step in range(30):
                call(doubler, step)
                if step == 0:  # else one after the other might do all its steps alone, and nobody leads
                    together.wait()
                if step >= 10 and is_slow():
                    assert release.wait(ENOUGH_S / 2), "the others waited for the slow job"
        done.release()

    def wait_for_the_others() -> None:
        for _ in range(1 if slow == "all but one" else jobs - 1):
            done.acquire(timeout=ENOUGH_S)
        release.set()

    assert run_all([run] * jobs + [wait_for_the_others]) == []
    assert not slow_jobs.acquire(blocking=False)
