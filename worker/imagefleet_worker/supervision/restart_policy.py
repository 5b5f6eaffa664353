"""`RestartPolicy`: whether a worker that ended is started again, and when. It knows exit codes, not processes."""

from typing import Final, NamedTuple

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.settings import DevicesSettings

#: After this many seconds of taking jobs, the next pause is the shortest again.
GOOD_RUN_S: Final = 60.0
_FIRST_PAUSE_S: Final = 1.0
_MOST_DOUBLINGS: Final = 20
#: Exit codes that count against the device. So does the model: one that all other devices can load is not at fault.
_FAULTS: Final = frozenset({ExitCode.DEVICE_HUNG, ExitCode.DEVICE_FAULT, ExitCode.MODEL_UNAVAILABLE})


class RestartDecision(NamedTuple):
    """What follows the end of a worker."""

    #: Seconds until the worker is started again; None if it is not.
    pause_s: float | None
    #: The state of its device until then: pausing, stopped, failed or bad.
    state: str
    #: For the log.
    reason: str


class RestartPolicy:
    """Decides for the workers of one device.

    - 0: the worker was asked to end (`celery control shutdown`), so it is not restarted.
    - 78: its settings are invalid, and a restart does not change them.
    - 71, 73, 74: restarted, but after *max_faults* of these within *fault_window_s* the device is bad.
    - any other code, such as a signal or 69 (Redis is away): always restarted, after pauses that grow.
    """

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings
        self._in_a_row = 0
        self._faults: list[float] = []

    @property
    def faults(self) -> int:
        """The number of faults that count against the device now."""
        return len(self._faults)

    def after(self, exit_code: int, *, served_s: float, now: float) -> RestartDecision:
        """Decide after an end with *exit_code* at the moment *now*, after *served_s* seconds of taking jobs."""
        if exit_code == ExitCode.OK:
            return RestartDecision(None, "stopped", "it was asked to end")
        if exit_code == ExitCode.SETTINGS_INVALID:
            return RestartDecision(None, "failed", "its settings are invalid; correct them and start it again")
        if exit_code in _FAULTS:
            self._faults = [moment for moment in self._faults if now - moment < self._settings.fault_window_s] + [now]
            if self.faults >= self._settings.max_faults:
                window_s = self._settings.fault_window_s
                what = "the model and the device" if exit_code == ExitCode.MODEL_UNAVAILABLE else "the device"
                return RestartDecision(None, "bad", f"{self.faults} faults within {window_s:g} s: check {what}")
        self._in_a_row = 0 if served_s >= GOOD_RUN_S else min(self._in_a_row + 1, _MOST_DOUBLINGS)
        pause_s = min(_FIRST_PAUSE_S * 2 ** max(self._in_a_row - 1, 0), self._settings.restart_max_s)
        return RestartDecision(pause_s, "pausing", f"restarted in {pause_s:g} s")
