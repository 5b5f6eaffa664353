"""Why jobs wait that no worker takes, said once on standard error."""

from collections.abc import Callable
from typing import Final

from imagefleet.client.outlook import Outlook
from imagefleet.client.snapshots import JobEvent
from imagefleet.contract.results import JobStatus
from imagefleet.errors import ImageFleetError, complain

#: Jobs that are asked for at most: each costs two round trips.
_MOST: Final = 12


class Waits:
    """Says each reason once, when the first event of a job is that it is queued."""

    def __init__(self, look: Callable[[str], Outlook], say: Callable[[str], None] = complain) -> None:
        """Prepare to ask *look* for jobs by id, and to give the sentences to *say*."""
        self._look = look
        self._say = say
        self._asked: set[str] = set()
        self._said: set[str] = set()

    def note(self, event: JobEvent) -> None:
        """Say why the job of *event* waits, if no worker takes it."""
        if event.status is not JobStatus.QUEUED or event.id in self._asked or len(self._asked) >= _MOST:
            return
        self._asked.add(event.id)
        try:
            reason = self._look(event.id).reason
        except ImageFleetError:  # Redis is away for a moment, or the record is gone: the events say what follows
            return
        if reason and reason not in self._said:
            self._said.add(reason)
            self._say(f"{reason}; the job waits")
