"""The device loop: one thread owns the device, and the jobs on it take turns within that thread.

Each run is a greenlet that executes an unmodified pipeline. When the pipeline calls a shared method (the denoiser, a
text encoder, the decoder), the run parks, and the loop makes one call out of those that go together. There is one
thread because PyTorch keeps cuDNN's plans and cuBLAS' handles for each thread: a network on a new thread works them out
again. Nothing that the loop calls may block: it would hold up all jobs.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import greenlet
import structlog

from imagefleet_worker.batching.admission import Admission
from imagefleet_worker.batching.batch import Apart, Call, next_batch
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.shared_method import JoinPolicy, SharedMethod
from imagefleet_worker.batching.torch_state import TorchState

log = structlog.get_logger(__name__)

#: How long a device that had nothing to do waits for each next run of a burst, in seconds.
_COMPANY_S: Final = 0.0005
T = TypeVar("T")


class LoopClosed(Exception):
    """The device loop has ended; it takes no more work."""


class DeviceLoop:
    """Owns the device within *grad_mode*, torch's inference mode or no-grad mode, from `start` until `close`.

    The thread calls *prepare_thread* before all else.
    """

    base_state: TorchState

    def __init__(
        self,
        *,
        runner: BatchRunner,
        admission: Admission,
        grad_mode: Callable[[], AbstractContextManager[Any]],
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        self.admission = admission
        #: How many calls stayed behind when a batch was made, by the reason.
        self.left_behind: Counter[Apart] = Counter()
        self._runner = runner
        self._grad_mode = grad_mode
        self._prepare_thread = prepare_thread
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._methods: list[SharedMethod] = []
        self._parked: list[Call] = []
        self._live: dict[DeviceRun, greenlet.greenlet] = {}
        self._thread = threading.Thread(target=self._main, name="device-loop", daemon=True)
        self._is_closing = False
        #: How many more runs are waited for before the first forward of a device that had nothing to do.
        self._waits_left = 0
        self._hub: Any = None

    def share(self, owner: Any, name: str, *, state: RunState, policy: JoinPolicy) -> SharedMethod:
        """Let runs park at the method *name* of *owner*; a call of it moves its run on to *state*."""
        method = SharedMethod(self, self._runner, owner, name, state=state, policy=policy)
        self._methods.append(method)
        return method

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, runs: Sequence[DeviceRun]) -> None:
        """Queue *runs*, which arrive in one moment: the first has no head start.

        They count at once, however long the loop is busy: a worker must not claim a job for capacity that is taken.
        """
        if self._is_closing:
            raise LoopClosed("the device loop has ended")
        self.admission.enqueue(runs)
        self._send(_wake)

    def call(self, function: Callable[[], T]) -> T:
        """The result of *function*, called in the loop's thread between two batches; raises what it raises."""
        if threading.current_thread() is self._thread:
            return function()
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # raised where the result is wanted
                future.set_exception(error)

        self._send(answer)
        return future.result()

    def close(self) -> None:
        """End the thread and give the modules their own methods back. Runs that are not over fail with LoopClosed."""
        if self._thread.is_alive():
            self._send(self._begin_to_close)
            self._thread.join()
        for method in reversed(self._methods):
            method.close()
        self._methods.clear()

    def current_run(self) -> DeviceRun | None:
        """The run whose code calls; None outside of runs, and in other threads."""
        current = greenlet.getcurrent()
        return current.device_run if isinstance(current, _RunGreenlet) and current.parent is self._hub else None

    def is_alone(self, run: DeviceRun) -> bool:
        """Whether no other run is on the device, could begin, or is waited for."""
        return len(self._live) == 1 and run in self._live and self._inbox.empty() and not self._waits_left

    def park(self, calls: list[Call]) -> None:
        """Let the other runs go on until all *calls*, which are of one run, have an output or an error."""
        self._parked += calls
        self._hub.switch()

    def _send(self, function: Callable[[], None]) -> None:
        if self._is_closing:
            raise LoopClosed("the device loop has ended")
        self._inbox.put(function)

    def _begin_to_close(self) -> None:
        self._is_closing = True

    def _main(self) -> None:
        self._hub = greenlet.getcurrent()
        self._prepare_thread()
        with self._grad_mode():
            self.base_state = TorchState.current()
            while not self._is_closing:
                try:
                    self._turn()
                except Exception as error:  # a fault of the loop's own: no job may wait for ever
                    log.exception("the device loop failed")
                    self._drop_all(error)
            self._drop_all(LoopClosed("the device loop has ended"))

    def _turn(self) -> None:
        """Take in what has come, let runs begin, or serve the oldest calls that go together."""
        self._take_in()
        if self._begin_runs():
            return
        if self._parked and self._waits_left:
            self._wait_for_company()
        elif self._parked:
            self._serve_next()
        elif not self._is_closing:  # nothing to do
            self._inbox.get()()

    def _begin_runs(self) -> bool:
        """Let the runs begin that may, each until it parks or ends; whether there were any."""
        admitted = self.admission.admit()
        if not admitted:
            return False
        if self._waits_left or not self._live:
            self._waits_left = self.admission.places(beside=[*self._live, *admitted])
        self._live |= {run: _RunGreenlet(self._work, self._hub, run) for run in admitted}
        for run in admitted:
            self._resume(run)
        return True

    def _wait_for_company(self) -> None:
        """Wait a moment for one more of the runs that come in a burst: the first forward would serve one alone."""
        try:
            function = self._inbox.get(timeout=_COMPANY_S)
        except queue.Empty:
            self._waits_left = 0
        else:
            function()
            if not self._begin_runs():
                self._waits_left = 0

    def _take_in(self) -> None:
        while not self._is_closing:
            try:
                function = self._inbox.get_nowait()
            except queue.Empty:
                return
            function()

    def _work(self, run: DeviceRun) -> None:
        run.advance(RunState.ENCODING)
        try:
            value = run.work(run)
        except BaseException as error:  # noqa: BLE001  # raised where the result is wanted
            run.fail(error)
        else:
            run.finish(value)

    def _resume(self, run: DeviceRun, error: BaseException | None = None) -> None:
        """Let *run* go on until it parks or ends; with an *error*, that is raised where it is parked."""
        job = self._live[run]
        if error is not None:
            job.throw(error)
        else:
            job.switch()
        if job.dead:
            del self._live[run]

    def _serve_next(self) -> None:
        batch = next_batch(self._parked)
        if batch.left_behind:
            self.left_behind.update(batch.left_behind)
            log.debug(
                "batch",
                rows=batch.rows,
                calls=len(batch.calls),
                left_behind={str(reason): count for reason, count in batch.left_behind.items()},
            )
        served = set(map(id, batch.calls))
        self._parked = [call for call in self._parked if id(call) not in served]
        self._runner.serve(batch.calls)
        still_parked = {call.run for call in self._parked}
        for run in dict.fromkeys(call.run for call in batch.calls):
            if run not in still_parked:
                self._resume(run)

    def _drop_all(self, error: BaseException) -> None:
        """End each run with *error*, raised where the run is parked, so that its `finally` blocks run."""
        self._parked.clear()
        for run in list(self._live):
            while run in self._live:  # a run may catch the error and call on
                self._resume(run, error)
                self._parked.clear()
        self.admission.fail_waiting(error)


class _RunGreenlet(greenlet.greenlet):
    """The greenlet that executes a run."""

    def __init__(self, work: Callable[[DeviceRun], None], hub: Any, run: DeviceRun) -> None:
        super().__init__(lambda: work(run), hub)
        self.device_run = run


def _wake() -> None:
    """Let the loop look what has come."""
