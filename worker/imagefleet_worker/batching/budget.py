"""The budget of a batch: how much one forward may hold, in rows and in rows times pixels of the image."""

import sys
from dataclasses import dataclass

from imagefleet_worker.settings import EngineMode, EngineSettings

_UNMEASURED_PIXELS = 16 * 512 * 512
#: A decoder needs far more memory for each pixel than a denoiser: by itself, as much as one image of 1024x1024.
_UNMEASURED_DECODE_PIXELS = 1024 * 1024


@dataclass(slots=True)
class BatchBudget:
    """Shared by the device loop and by the admission; a measurement may change it before jobs come."""

    max_rows: int
    #: Rows times width times height: the larger the images, the fewer rows fill the device.
    max_pixels: int

    def rows(self, pixels: int) -> int:
        """Rows of one forward with images of *pixels* each; one is always allowed."""
        return max(1, min(self.max_rows, self.max_pixels // max(1, pixels)))


def unlimited() -> BatchBudget:
    """A budget that splits no call."""
    return BatchBudget(max_rows=sys.maxsize, max_pixels=sys.maxsize)


def denoiser_budget(settings: EngineSettings) -> BatchBudget:
    """The budget of the denoiser before anything is measured."""
    if settings.mode is not EngineMode.MERGE:  # one job's call is left as it is; padded ones have rows of their own
        return unlimited()
    pixels = settings.max_pixels if isinstance(settings.max_pixels, int) else _UNMEASURED_PIXELS
    return BatchBudget(max_rows=settings.max_rows, max_pixels=pixels)


def decoder_budget(settings: EngineSettings) -> BatchBudget:
    """The budget of the decoder before anything is measured; never more than the denoiser's."""
    if settings.mode is not EngineMode.MERGE:
        return unlimited()
    most = denoiser_budget(settings)
    return BatchBudget(max_rows=most.max_rows, max_pixels=min(most.max_pixels, _UNMEASURED_DECODE_PIXELS))


def encoder_budget(settings: EngineSettings) -> BatchBudget:
    """The budget of the text encoders: their rows are short, whatever the size of the image."""
    if settings.mode is not EngineMode.MERGE:
        return unlimited()
    return BatchBudget(max_rows=settings.max_rows, max_pixels=sys.maxsize)


def must_calibrate(settings: EngineSettings, *, device: str) -> bool:
    """Whether the pixels are to be measured on a *device* of this kind."""
    is_asked_for = settings.max_pixels == "measure" or (settings.max_pixels == "auto" and device == "cuda")
    return is_asked_for and settings.mode is EngineMode.MERGE
