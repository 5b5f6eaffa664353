"""What comes out of a pipeline is what was asked for, or an error that says what else it was."""

import numpy as np
import pytest
import torch
from PIL import Image

from imagefleet_worker.diffusion.images import PendingImages, SeenOfRun, pixels_of
from imagefleet_worker.diffusion.schedulers import UseOfScheduler
from imagefleet_worker.errors import DeviceFault, GenerationFailed, ImageNotFinite

GOOD = torch.linspace(0, 1, 2 * 3 * 4 * 6).reshape(2, 3, 4, 6)


def pending(
    made: object, *, finite: tuple[bool, ...] = (), flagged: tuple[bool, ...] = (), is_decoder_seen: bool = True
) -> PendingImages:
    """Images as a run leaves them."""
    return PendingImages(
        made,
        finite=[torch.tensor(flag) for flag in finite],
        is_decoder_seen=is_decoder_seen,
        seen=SeenOfRun(texts=(), flagged=flagged, is_unguided=False, scheduler=UseOfScheduler(None)),
        explain=lambda error: DeviceFault(str(error)),
    )


def test_tensors_become_the_pictures_that_diffusers_would_have_made() -> None:
    images = pending(GOOD).wait(count=2)
    expected = (GOOD.permute(0, 2, 3, 1).numpy() * 255).round().astype("uint8")
    assert all((np.asarray(image) == one).all() for image, one in zip(images, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_number_format_becomes_bytes(dtype: torch.dtype) -> None:
    assert pixels_of(GOOD.to(dtype)).dtype is torch.uint8
    assert pixels_of(torch.ones(1, 3, 2, 2, dtype=dtype)).max() == 255


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_of_the_decoder_that_are_not_numbers_are_no_image(value: float) -> None:
    """A black image would be called a success otherwise."""
    made = GOOD.clone()
    made[1, 0, 2, 3] = value
    with pytest.raises(ImageNotFinite):
        pending(made).wait(count=2)


@pytest.mark.parametrize("made", [GOOD, [Image.new("RGB", (6, 4))] * 2])
def test_values_that_are_not_numbers_on_the_way_are_no_image(made: object) -> None:
    with pytest.raises(ImageNotFinite):
        pending(made, finite=(True, False)).wait(count=2)
    assert len(pending(made, finite=(True, True)).wait(count=2)) == 2


@pytest.mark.parametrize("made", [GOOD, [Image.new("RGB", (6, 4))] * 2])
def test_another_number_is_an_error_with_both(made: object) -> None:
    with pytest.raises(GenerationFailed, match="made 2 images where 1 were asked for"):
        pending(made).wait(count=1)


def test_pictures_of_one_flat_colour_are_no_images_where_nobody_saw_numbers() -> None:
    """What is not a number becomes 0 in a picture; a decoder that was seen has made numbers."""
    good = Image.linear_gradient("L").convert("RGB")
    pictures = [good, Image.new("RGB", good.size)]
    with pytest.raises(ImageNotFinite, match="IMAGEFLEET_MODEL_DTYPE"):
        pending(pictures, is_decoder_seen=False).wait(count=2)
    assert pending(pictures, is_decoder_seen=True).wait(count=2) == pictures
    assert pending([good, good], is_decoder_seen=False).wait(count=2)


def test_a_picture_that_the_safety_checker_made_black_is_one() -> None:
    pictures = [Image.linear_gradient("L").convert("RGB"), Image.new("RGB", (256, 256))]
    assert pending(pictures, is_decoder_seen=False, flagged=(False, True)).wait(count=2) == pictures
    with pytest.raises(ImageNotFinite):
        pending(pictures, is_decoder_seen=False, flagged=(True, False)).wait(count=2)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(GenerationFailed, match="gave ndarray"):
        pending([np.zeros(3)])
    with pytest.raises(GenerationFailed, match="three channels"):
        pending(torch.zeros(1, 4, 8, 8))
