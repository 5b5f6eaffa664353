"""Draining: how a worker ends; it claims nothing more, lets run what fits, and hands the rest back."""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from imagefleet_worker.errors import ExitCode
from imagefleet_worker.flights import Flights
from imagefleet_worker.heartbeat import Heartbeat
from imagefleet_worker.leases import Leases

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Drain:
    """The end of one process."""

    leases: Leases
    flights: Flights
    heartbeat: Heartbeat
    #: How long running jobs may go on.
    seconds: float
    #: Takes the process out of the fleet's registry; called where the process is ended from here.
    leave: Callable[[], None]

    def begin(self) -> None:
        """Take no more jobs and return; a thread waits for those that run, and ends the process where they do not."""
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def hand_back(self) -> NoReturn:
        """Hand back everything and end the process now."""
        self.leases.stop_claiming()
        self.flights.lose_all()
        count = self.leases.give_back_all()
        log.warning("handed back what was running", jobs=count)
        self.leave()
        sys.stderr.flush()
        os._exit(ExitCode.OK)

    def _run(self) -> None:
        self.heartbeat.draining()
        self.leases.stop_claiming()
        running = len(self.flights)
        log.info("draining", running=running, seconds=self.seconds)
        hint = "press Ctrl-C again to hand them back at once"
        os.write(2, f"imagefleet: draining, {running} jobs running, at most {self.seconds:g} s; {hint}\n".encode())
        if not self.flights.wait_until_empty(self.seconds):
            self.hand_back()
