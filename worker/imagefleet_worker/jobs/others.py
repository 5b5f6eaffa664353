"""Others: how it goes at the other workers of the same model."""

from typing import NamedTuple


class Others(NamedTuple):
    """The other workers of the model that take jobs."""

    #: Those at which jobs do not fail in a row.
    well: int = 0
    failing: int = 0

    @property
    def all_fail(self) -> bool:
        """Whether there are others, and jobs fail in a row at each."""
        return bool(self.failing) and not self.well

    def __str__(self) -> str:
        """What they are like, after the sentence about this worker."""
        if not self.well and not self.failing:
            return "no other worker serves the model"
        return f"jobs fail in a row at {self.failing} of {self.well + self.failing} other workers"
