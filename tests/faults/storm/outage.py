"""The storm's outage of S3: for some minutes it answers no request, and workers are killed meanwhile."""

import time

from tests.support.servers.flaky_s3_proxy import FlakyS3, Weather

#: Half of the requests are refused, and the other half lose their connections.
_AWAY = Weather(slow_down=0.5, reset=0.5)
#: Kills that fall into the outage, at equal distances. Two of three workers: the last one is never killed.
_KILLS = 2


class S3Outage:
    """One outage, some time in the storm."""

    def __init__(self, s3: FlakyS3, *, seconds: float) -> None:
        """Let *s3* be away for *seconds*, from `begin` on."""
        self._s3 = s3
        self._usual = s3.weather
        self._seconds = seconds
        self._began_at = 0.0
        self._kills_due: list[float] = []
        self.is_on = False
        #: How long it was, once it is over; 0 before.
        self.lasted_s = 0.0

    def begin(self) -> None:
        """Let S3 be away from now on."""
        self._began_at = time.monotonic()
        distance = self._seconds / (_KILLS + 1)
        self._kills_due = [self._began_at + distance * number for number in range(1, _KILLS + 1)]
        self.is_on = True
        self._s3.weather = _AWAY

    def tend(self) -> None:
        """End it if it has lasted for long enough."""
        lasted = time.monotonic() - self._began_at
        if self.is_on and lasted >= self._seconds:
            self._s3.weather = self._usual
            self.is_on = False
            self.lasted_s = lasted

    def kill_is_due(self) -> bool:
        """Whether it is time for the next kill within the outage; each is due once."""
        if not self.is_on or not self._kills_due or time.monotonic() < self._kills_due[0]:
            return False
        self._kills_due.pop(0)
        return True
