"""Pending images: what a job's run leaves behind, which its own thread turns into pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from imagefleet_worker.batching.finite import all_finite
from imagefleet_worker.diffusion.host_copy import HostCopy
from imagefleet_worker.diffusion.observed_tokenizers import TokenizedText
from imagefleet_worker.diffusion.schedulers import UseOfScheduler
from imagefleet_worker.errors import GenerationFailed, ImageNotFinite, WorkerError

_NOT_FINITE = (
    "the model made values that are not numbers; the image would be black. "
    "Serve the model in the number format that it was made for (IMAGEFLEET_MODEL_DTYPE)"
)
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class SeenOfRun:
    """What was seen of a run besides its images; warnings are made of it in the job's own thread."""

    texts: Sequence[TokenizedText]
    """What its tokenizers were called with."""
    flagged: Sequence[bool]
    """For each image, whether the pipeline's own safety checker has flagged it; empty without one."""
    is_unguided: bool
    """Whether the pipeline says that it made the images without classifier-free guidance."""
    scheduler: UseOfScheduler
    """What the pipeline did with the run's scheduler."""


class PendingImages:
    """The images of one job: tensors of (count, 3, height, width) in 0 to 1 on the device, or PIL images.

    *finite* are 0-dim tensors, each true if one step of the way made numbers only; *is_decoder_seen* says whether the
    decoder is among them. *explain* makes a `WorkerError` of what the device raises when it is waited for.
    """

    def __init__(
        self,
        made: Any,
        *,
        finite: Sequence[torch.Tensor],
        is_decoder_seen: bool,
        seen: SeenOfRun,
        explain: Callable[[Exception], WorkerError],
    ) -> None:
        self.seen = seen
        self._explain = explain
        self._is_proved_finite = is_decoder_seen or isinstance(made, torch.Tensor)
        self._pictures: list[Image.Image] | None = None
        flags = list(finite)
        tensors: list[torch.Tensor] = []
        if isinstance(made, torch.Tensor):
            flags.append(all_finite(made))
            tensors.append(pixels_of(made))
        else:
            self._pictures = [image for image in made if isinstance(image, Image.Image)]
            if len(self._pictures) != len(made):
                raise GenerationFailed(
                    f"the pipeline gave {type(made[0]).__name__} where images were expected; serve a "
                    "text-to-image model"
                )
        if flags:
            tensors.append(torch.stack([flag.to(flags[0].device) for flag in flags]).all())
        self._has_flags = bool(flags)
        self._copy = HostCopy(tensors)

    def wait(self, *, count: int) -> list[Image.Image]:
        """*count* images; called once, outside of the device loop.

        Raises:
            ImageNotFinite: if they would be black.
            GenerationFailed: if the pipeline made another number of images.
            DeviceFault: if the device failed on the way.
        """
        try:
            copies = self._copy.wait()
        except RuntimeError as error:
            problem = self._explain(error)
            raise problem from None
        if self._has_flags and not bool(copies[-1]):
            raise ImageNotFinite(_NOT_FINITE)
        images = self._pictures
        if images is None:
            images = [Image.fromarray(each) for each in copies[0].numpy()]
        if len(images) != count:
            raise GenerationFailed(
                f"the pipeline made {len(images)} images where {count} were asked for; ask for one image in each job"
            )
        self._check_colours(images)
        return images

    def _check_colours(self, images: Sequence[Image.Image]) -> None:
        """Refuse images of one flat colour if nobody saw numbers: what is none becomes 0 on the way to a picture."""
        if self._is_proved_finite:
            return
        flagged = [*self.seen.flagged, *[False] * len(images)]  # a checker makes its images black
        if any(is_flat(image) and not flag for image, flag in zip(images, flagged, strict=False)):
            raise ImageNotFinite(_NOT_FINITE)


def is_flat(image: Image.Image) -> bool:
    """Whether all pixels have one colour."""
    return all(low == high for low, high in (band.getextrema() for band in image.convert("RGB").split()))


def pixels_of(images: torch.Tensor) -> torch.Tensor:
    """Bytes of (count, height, width, 3), rounded as diffusers' own conversion to PIL does, on the same device."""
    if images.ndim != 4 or images.shape[1] != _CHANNELS:  # noqa: PLR2004  # count, channels, height, width
        raise GenerationFailed(
            f"the pipeline gave pixels of shape {tuple(images.shape)}; images have three channels: serve a "
            "text-to-image model"
        )
    return (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
