"""A crew: the workers of several devices of this machine, started, watched and ended together."""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from imagefleet_worker import beats, roll
from imagefleet_worker.accelerators import Seat
from imagefleet_worker.berth import Berth, Fittings
from imagefleet_worker.errors import ExitCode
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

#: What a worker may need beyond its drain, before it is killed: for files, uploads and the interpreter's own end.
_GRACE_S: Final = 15.0
_ROLL_EVERY_S: Final = 1.0
#: The first signal lets jobs end, the second hands them back.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGQUIT)


class Crew:
    """One worker for each seat, from the first `tend` until `is_over`; not safe to use from several threads."""

    def __init__(self, seats: Sequence[Seat], *, settings: Settings, options: Sequence[str], health: Path) -> None:
        """Prepare a worker for each of *seats*, with *options* for Celery; heartbeats go below *health*."""
        self._health = health
        self._drain_s = settings.worker.drain_s
        self._closed_times = 0
        self._rolled_at = 0.0
        self._killed_at = float("inf")
        self._berths = [
            Berth(seat, fittings=Fittings(settings=settings, options=options, health=health, index=index))
            for index, seat in enumerate(seats)
        ]

    @property
    def is_over(self) -> bool:
        """Whether no worker runs, and none will be started."""
        return all(berth.is_over for berth in self._berths)

    @property
    def exit_code(self) -> int:
        """How this process should end: as the first worker did that did not end as it was asked."""
        codes = [berth.exit_code for berth in self._berths]
        # A signal's negative number means nothing to a shell.
        return next((code if code > 0 else int(ExitCode.INTERNAL_ERROR) for code in codes if code), int(ExitCode.OK))

    def tend(self) -> None:
        """Look at every worker once; call it several times a second."""
        for berth in self._berths:
            berth.tend()
        self._reap_strangers()
        if beats.now() > self._killed_at:
            self._kill()
        self._write_roll()

    def entries(self) -> list[roll.Entry]:
        """How each device does."""
        return [berth.entry() for berth in self._berths]

    def close(self) -> None:
        """Let the workers drain, the second time hand back at once what they hold; none is started any more."""
        number = _SIGNALS[min(self._closed_times, len(_SIGNALS) - 1)]
        if not self._closed_times:
            self._killed_at = beats.now() + self._drain_s + _GRACE_S
        self._closed_times += 1
        for berth in self._berths:
            berth.close(number)

    def _write_roll(self) -> None:
        if self._rolled_at and beats.now() - self._rolled_at < _ROLL_EVERY_S and not self.is_over:
            return
        self._rolled_at = beats.now()
        try:
            roll.write(self._health, self.entries())
        except OSError as error:  # the next may get through; probes tell when none does
            log.warning("roll not written", folder=str(self._health), error=str(error))

    def _kill(self) -> None:
        self._killed_at = float("inf")
        log.error("workers killed: they did not end within their drain")
        for berth in self._berths:
            berth.close(signal.SIGKILL)

    def _reap_strangers(self) -> None:
        """Take note of the ends of processes that this one never started: as process 1 of a container it gets them."""
        if os.getpid() != 1:
            return
        ours = {berth.pid for berth in self._berths}
        with contextlib.suppress(ChildProcessError):  # there are none at all
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in ours:  # its berth asks for it
                    return
                os.waitpid(found.si_pid, 0)
