"""Restarts: whether a worker that ended is started again, and when. Knows exit codes and moments, no processes."""

from typing import Final, NamedTuple

from imagefleet_worker.errors import ExitCode
from imagefleet_worker.settings import DevicesSettings

#: Served for so long, a worker has shown that it can: its next pause is the shortest again.
GOOD_RUN_S: Final = 60.0
_FIRST_PAUSE_S: Final = 1.0
_MOST_DOUBLINGS: Final = 20
#: What may be the device's fault. The model counts too: one that all devices but one can load is that one's matter.
_FAULTS: Final = frozenset({ExitCode.DEVICE_HUNG, ExitCode.DEVICE_FAULT, ExitCode.MODEL_UNAVAILABLE})


class Verdict(NamedTuple):
    """What follows the end of a worker."""

    #: How long to wait before it is started again, in seconds; None: it is not.
    pause_s: float | None
    #: The state of its device until then: pausing, stopped, failed or bad.
    state: str
    #: For whoever reads the log.
    reason: str


class Restarts:
    """The ends of one device's workers.

    - 0: somebody asked it to end (`celery control shutdown`), so it stays away.
    - 78: no restart mends settings.
    - 71, 73, 74: again, but after *max_faults* of them within *fault_window_s* the device is bad.
    - anything else, such as a signal or a Redis that is away: again and again, with growing pauses.
    """

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings
        self._in_a_row = 0
        self._faults: list[float] = []

    @property
    def faults(self) -> int:
        """The faults that count against the device now."""
        return len(self._faults)

    def after(self, exit_code: int, *, served_s: float, now: float) -> Verdict:
        """What follows an end with *exit_code* at the moment *now*, after *served_s* of taking jobs."""
        if exit_code == ExitCode.OK:
            return Verdict(None, "stopped", "it was asked to end")
        if exit_code == ExitCode.SETTINGS_INVALID:
            return Verdict(None, "failed", "its settings are invalid, which a restart does not mend")
        if exit_code in _FAULTS:
            self._faults = [moment for moment in self._faults if now - moment < self._settings.fault_window_s] + [now]
            if self.faults >= self._settings.max_faults:
                window_s = self._settings.fault_window_s
                return Verdict(None, "bad", f"{self.faults} faults within {window_s:g} s: look at the device")
        self._in_a_row = 0 if served_s >= GOOD_RUN_S else min(self._in_a_row + 1, _MOST_DOUBLINGS)
        pause_s = min(_FIRST_PAUSE_S * 2 ** max(self._in_a_row - 1, 0), self._settings.restart_max_s)
        return Verdict(pause_s, "pausing", f"started again in {pause_s:g} s")
