"""The budget: how much one forward may hold, in rows and in rows times pixels of the image."""

import sys
from dataclasses import dataclass

from imagefleet_worker.settings import EngineMode, EngineSettings

_UNMEASURED_PIXELS = 16 * 512 * 512


@dataclass(slots=True)
class Budget:
    """Shared by the meeting point and by the turns; measuring may change it before jobs come."""

    max_rows: int
    #: Rows times width times height: the larger the images, the fewer rows fill the device.
    max_pixels: int

    def rows(self, pixels: int) -> int:
        """Rows of one forward with images of *pixels* each; one is always allowed."""
        return max(1, min(self.max_rows, self.max_pixels // max(1, pixels)))


def budget_of(settings: EngineSettings) -> Budget:
    """The budget before anything is measured."""
    if settings.mode is not EngineMode.MERGE:  # one job's call is left as it is; padded ones have rows of their own
        return Budget(max_rows=sys.maxsize, max_pixels=sys.maxsize)
    pixels = settings.max_pixels if isinstance(settings.max_pixels, int) else _UNMEASURED_PIXELS
    return Budget(max_rows=settings.max_rows, max_pixels=pixels)


def is_to_measure(settings: EngineSettings, *, device: str) -> bool:
    """Whether the pixels are to be measured on a *device* of this kind."""
    is_asked_for = settings.max_pixels == "measure" or (settings.max_pixels == "auto" and device == "cuda")
    return is_asked_for and settings.mode is EngineMode.MERGE
