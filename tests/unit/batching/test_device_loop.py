"""The device loop by itself: jobs of all kinds come and go, each gets its own rows, and all work is on one thread."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.support.waiting import wait_until

from imagefleet_worker.batching import device_loop
from imagefleet_worker.batching.admission import Admission
from imagefleet_worker.batching.batch import Apart
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.device_loop import DeviceLoop, LoopClosed
from imagefleet_worker.batching.device_timer import DeviceTimer
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.shared_method import JoinPolicy

CPU = torch.device("cpu")


class Doubler(torch.nn.Module):
    """Twice its input; keeps the number of rows of each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, sample: torch.Tensor, scale: torch.Tensor, *, return_dict: bool = True) -> tuple[torch.Tensor]:
        """A tuple of one, as the denoisers give it."""
        assert not return_dict
        self.rows.append(len(sample))
        if bool((sample > 1e6).any()):
            raise ValueError("too large")
        return (sample * scale.reshape(-1, 1),)


class Device:
    """A device loop round one `Doubler`."""

    def __init__(self, *, limit: int = 64, budget: BatchBudget | None = None, fixed_rows: int | None = None) -> None:
        self.module = Doubler()
        self.budget = budget or BatchBudget(max_rows=64, max_pixels=10_000)
        self.capacity_calls = 0
        self.admission = Admission(limit, budget=self.budget, on_capacity=self._note_capacity)
        self.runner = BatchRunner(CPU, timer=DeviceTimer(CPU), graphs=None)
        self.loop = DeviceLoop(runner=self.runner, admission=self.admission, grad_mode=torch.inference_mode)
        policy = JoinPolicy(self.budget, is_joined=limit > 1, fixed_rows=fixed_rows)
        self.method = self.loop.share(self.module, "forward", state=RunState.DENOISING, policy=policy)
        self.loop.start()

    def _note_capacity(self) -> None:
        self.capacity_calls += 1

    def double(self, value: float, *, rows: int = 2, width: int = 3) -> torch.Tensor:
        """What the module makes of *value*, which must be its double."""
        (output,) = self.module(torch.full((rows, width), value), torch.tensor(2.0), return_dict=False)
        assert output.shape == (rows, width)
        assert (output == 2 * value).all(), (value, output)
        return output

    def run(self, work: Callable[[DeviceRun], Any], **options: Any) -> DeviceRun:
        """A run of *work* that is not submitted yet."""
        return DeviceRun(work, **{"cost": 1, "pixels": 1, **options})


@pytest.fixture
def make_device() -> Iterator[Callable[..., Device]]:
    """Makes devices that are closed at the end."""
    made: list[Device] = []

    def make(**options: Any) -> Device:
        made.append(Device(**options))
        return made[-1]

    yield make
    for device in made:
        device.loop.close()


def outcome(run: DeviceRun) -> Any:
    """What the run gave or raised."""
    try:
        return run.result()
    except Exception as error:  # noqa: BLE001  # it is what is looked at
        return error


@pytest.mark.parametrize("jobs", [1, 2, 8, 32])
@pytest.mark.parametrize("fixed_rows", [None, 4])
def test_jobs_of_all_kinds_end_with_their_own_rows(make_device: Any, jobs: int, fixed_rows: int | None) -> None:
    for seed in range(4):
        device = make_device(budget=BatchBudget(max_rows=8, max_pixels=10_000), fixed_rows=fixed_rows, limit=16)
        dice = random.Random(seed)

        def job(number: int, dice: random.Random = dice, device: Device = device) -> Callable[[DeviceRun], int]:
            steps, widths = dice.randrange(1, 30), dice.choice([(3,), (5,), (3, 5)])
            rows, fail_at = dice.randrange(1, 4), dice.choice([dice.randrange(steps), -1, -1])

            def work(_run: DeviceRun) -> int:
                for step in range(steps):
                    for width in widths:
                        device.double(number * 1000 + step, rows=rows, width=width)
                    if step == fail_at:
                        raise RuntimeError("enough")
                return number

            return work

        runs = [device.run(job(number)) for number in range(jobs)]
        for run in runs:
            device.loop.submit([run])
        found = [outcome(run) for run in runs]
        assert all(each == number or str(each) == "enough" for number, each in enumerate(found))
        assert device.admission.count() == 0


def test_equal_jobs_that_come_together_share_every_forward(make_device: Any) -> None:
    device = make_device()
    runs = [device.run(lambda _run, i=i: [device.double(i) for _ in range(5)]) for i in range(8)]
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert device.module.rows == [16] * 5
    assert device.runner.counts.calls == 40


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that had nothing to do waits for a minute for each next run: who waits without need, fails the test."""
    monkeypatch.setattr(device_loop, "_COMPANY_S", 60)


@pytest.mark.usefixtures("patient")
@pytest.mark.timeout(30)
def test_runs_that_come_in_a_burst_share_the_first_forward(make_device: Any) -> None:
    """From threads of their own, one after the other; no longer than there is room."""
    device = make_device(limit=3)
    runs = [device.run(lambda _run, i=i: [device.double(i) for _ in range(2)]) for i in range(3)]
    for run in runs:
        assert device.module.rows == []
        device.loop.submit([run])
        wait_until(lambda run=run: run.state >= RunState.DENOISING, 10)
    for run in runs:
        run.result()
    assert device.module.rows == [6, 6]


@pytest.mark.usefixtures("patient")
@pytest.mark.timeout(30)
def test_a_device_that_works_waits_for_nobody(make_device: Any) -> None:
    device = make_device(limit=3)
    two_more = [device.run(lambda _run: device.double(1)) for _ in range(2)]

    def work(_run: DeviceRun) -> None:
        device.double(1)
        device.double(2)

    device.loop.submit([device.run(lambda _run: device.double(5)) for _ in range(2)] + [longer := device.run(work)])
    longer.result()
    assert device.module.rows == [6, 2]
    alone = make_device(limit=1)
    alone.loop.submit(two_more[:1])
    two_more[0].result()


@pytest.mark.usefixtures("patient")
@pytest.mark.timeout(30)
def test_a_run_that_admits_no_other_waits_for_nobody(make_device: Any) -> None:
    """Such as an exclusive one, also if it comes in a burst."""
    device = make_device(limit=3)
    exclusive = device.run(lambda _run: device.double(1), concurrency_limit=1)
    device.loop.submit([exclusive])
    exclusive.result()
    first = device.run(lambda _run: device.double(2))
    device.loop.submit([first])
    wait_until(lambda: first.state is RunState.DENOISING, 10)
    last = device.run(lambda _run: device.double(9), concurrency_limit=1)
    device.loop.submit([last])
    for run in (first, last):
        run.result()
    assert device.module.rows == [2, 2, 2]


def test_a_newcomer_joins_at_the_next_step(make_device: Any) -> None:
    device = make_device()
    newcomer = device.run(lambda _run: [device.double(7) for _ in range(3)])

    def first(_run: DeviceRun) -> None:
        for step in range(6):
            device.double(1)
            if step == 1:
                device.loop.submit([newcomer])

    run = device.run(first)
    device.loop.submit([run])
    run.result()
    newcomer.result()
    assert device.module.rows == [2, 2, 4, 4, 4, 2]


def test_a_row_that_fails_fails_its_own_job_only(make_device: Any) -> None:
    device = make_device()
    values = (1, 2, 1e9, 3, 4)
    runs = [
        device.run(lambda _run, value=value: [device.double(value if step == 10 else 1.0) for step in range(20)])
        for value in values
    ]
    device.loop.submit(runs)
    errors = [each for each in map(outcome, runs) if isinstance(each, Exception)]
    assert [str(error) for error in errors] == ["too large"]


def test_a_failed_batch_is_made_again_in_halves(make_device: Any) -> None:
    device = make_device()
    runs = [
        device.run(lambda _run, value=value: device.double(value)) for value in (1.0, 2.0, 1e9, 3.0, 4.0, 5.0, 6.0, 7.0)
    ]
    device.loop.submit(runs)
    assert [isinstance(outcome(run), ValueError) for run in runs] == [False, False, True, *[False] * 5]
    assert device.module.rows == [16, 8, 4, 4, 2, 2, 8]


def test_a_job_that_stops_between_two_steps_leaves_the_others_as_they_are(make_device: Any) -> None:
    device = make_device()
    cleaned: list[int] = []

    def work(number: int) -> int:
        try:
            for step in range(6):
                device.double(number)
                if number == 1 and step == 2:
                    raise KeyError("canceled")
        finally:
            cleaned.append(number)
        return number

    runs = [device.run(lambda _run, i=i: work(i)) for i in range(3)]
    device.loop.submit(runs)
    assert [repr(outcome(run)) for run in runs] == ["0", "KeyError('canceled')", "2"]
    assert device.module.rows == [6, 6, 6, 4, 4, 4]
    assert sorted(cleaned) == [0, 1, 2]


def test_a_run_with_a_limit_of_one_is_alone_and_holds_back_those_behind_it(make_device: Any) -> None:
    device = make_device()
    present: list[tuple[str, int]] = []

    def work(name: str) -> None:
        for _ in range(3):
            device.double(1)
            present.append((name, device.admission.count()))

    names = ("before", "alone", "behind")
    runs = [device.run(lambda _run, n=n: work(n), concurrency_limit=1 if n == "alone" else None) for n in names]
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert [name for name, _ in present] == ["before"] * 3 + ["alone"] * 3 + ["behind"] * 3
    assert {count for _, count in present} == {1}


def test_one_job_at_a_time_where_the_limit_is_one(make_device: Any) -> None:
    device = make_device(limit=1)
    runs = [device.run(lambda _run, i=i: [device.double(i) for _ in range(3)]) for i in range(4)]
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert device.module.rows == [2] * 12


def test_no_kind_of_call_waits_for_ever(make_device: Any) -> None:
    """While long jobs of one kind go on, a short one of another kind has its turn at each step."""
    device = make_device()
    order: list[str] = []

    def work(name: str, width: int, steps: int) -> None:
        for _ in range(steps):
            device.double(1, width=width)
            order.append(name)

    runs = [device.run(lambda _run: work("long", 3, 20)) for _ in range(4)]
    runs.append(device.run(lambda _run: work("short", 5, 3)))
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert order.index("short") <= 8
    assert [i for i, name in enumerate(order) if name == "short"][-1] <= 20


def test_what_stays_behind_is_counted_with_its_reason(make_device: Any) -> None:
    device = make_device(budget=BatchBudget(max_rows=4, max_pixels=10_000))
    runs = [device.run(lambda _run, w=w: device.double(1, width=w)) for w in (3, 3, 3, 5)]
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert device.module.rows == [4, 2, 2]
    assert device.loop.left_behind == Counter({Apart.SHAPE: 2, Apart.BUDGET: 1})


def test_closing_ends_all_runs_and_lets_them_clean_up(make_device: Any) -> None:
    device = make_device()
    cleaned, started = threading.Event(), threading.Event()

    def work(_run: DeviceRun) -> None:
        try:
            while True:
                started.set()
                device.double(1)
        finally:
            cleaned.set()

    endless = [device.run(work), device.run(work)]
    device.loop.submit(endless)
    assert started.wait(10)
    device.loop.close()
    assert cleaned.is_set()
    assert all(isinstance(outcome(run), LoopClosed) for run in endless)
    assert "forward" not in vars(device.module)
    with pytest.raises(LoopClosed):
        device.loop.submit([device.run(work)])


def test_a_function_is_called_in_the_loops_thread_and_its_error_comes_back(make_device: Any) -> None:
    device = make_device()
    assert device.loop.call(lambda: threading.current_thread().name) == "device-loop"
    assert device.loop.call(torch.is_inference_mode_enabled)
    with pytest.raises(ZeroDivisionError):
        device.loop.call(lambda: 1 // 0)


def test_a_job_that_is_submitted_counts_at_once_while_the_loop_is_busy(make_device: Any) -> None:
    """Else a worker would claim a job for each time that it asks, as long as one forward takes."""
    device = make_device(limit=1)
    seen: list[bool] = []

    def work(run: DeviceRun) -> None:
        run.end_soon()
        seen.append(device.admission.has_capacity(cost=1))
        device.loop.submit([device.run(lambda _run: None)])
        seen.append(device.admission.has_capacity(cost=1))

    run = device.run(work)
    device.loop.submit([run])
    run.result()
    assert seen == [True, False]


def test_capacity_is_announced_once_for_each_job(make_device: Any) -> None:
    device = make_device()

    def work(run: DeviceRun) -> None:
        device.double(1)
        run.end_soon()
        device.double(1)
        run.advance(RunState.DECODING)

    runs = [device.run(work) for _ in range(5)]
    device.loop.submit(runs)
    for run in runs:
        run.result()
    assert device.capacity_calls == 5


class ColdDevice(torch.nn.Module):
    """Costs 0.3 s the first time on each thread and for each number of rows, as cuDNN's plans do on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: set[tuple[int, int]] = set()

    def forward(self, sample: torch.Tensor, *, return_dict: bool = False) -> tuple[torch.Tensor]:
        """Its input, late where nothing is planned yet."""
        plan = (threading.get_ident(), len(sample))
        if plan not in self.planned:
            self.planned.add(plan)
            threading.Event().wait(0.3)
        return (sample,)


def test_jobs_of_many_threads_find_the_device_warm() -> None:
    budget = BatchBudget(max_rows=8, max_pixels=10_000)
    admission = Admission(4, budget=budget, on_capacity=lambda: None)
    runner = BatchRunner(CPU, timer=DeviceTimer(CPU), graphs=None)
    loop = DeviceLoop(runner=runner, admission=admission, grad_mode=torch.inference_mode)
    module = ColdDevice()
    loop.share(module, "forward", state=RunState.DENOISING, policy=JoinPolicy(budget, is_joined=True))
    loop.start()

    def job() -> None:
        run = DeviceRun(lambda _run: [module(torch.ones(2, 3)) for _ in range(10)], cost=1, pixels=1)
        loop.submit([run])
        run.result()

    threads = [threading.Thread(target=job) for _ in range(16)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.close()
    assert len({thread for thread, _ in module.planned}) == 1
    assert {rows for _, rows in module.planned} <= {2, 4, 6, 8}
    assert time.monotonic() - started < 16 * 0.3, "as slow as a thread for each job"


class LanguageModel(torch.nn.Module):
    """An encoder of prompts that is a language model: it keeps what it was told of its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool | None] = []

    def forward(
        self, input_ids: torch.Tensor, past_key_values: object = None, *, use_cache: bool | None = None
    ) -> torch.Tensor:
        """As many rows."""
        self.told.append(use_cache)
        return input_ids


@pytest.mark.parametrize(
    ("is_joined", "options", "told"),
    [
        (True, {}, False),
        (True, {"use_cache": True}, True),
        (True, {"past_key_values": object()}, None),
        (False, {}, None),
    ],
)
def test_a_language_model_makes_no_cache_where_texts_are_joined(
    make_device: Any, *, is_joined: bool, options: dict[str, Any], told: bool | None
) -> None:
    """Its rows could not be told. Who writes on with the model, and who is alone by decision, gets what it asks for."""
    device, model = make_device(), LanguageModel()
    policy = JoinPolicy(device.budget, is_joined=is_joined)
    device.loop.share(model, "forward", state=RunState.ENCODING, policy=policy)
    run = device.run(lambda _run: model(torch.tensor([[1]]), **options))
    device.loop.submit([run])
    assert run.result().tolist() == [[1]]
    assert model.told == [told]
