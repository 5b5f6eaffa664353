"""Image files: the pixels, what made them inside, and nothing that depends on who else is encoding."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from imagefleet.contract.jobs import ImageFormat
from imagefleet_worker.settings import EncodingSettings
from imagefleet_worker.storage.image_files import EncodedImage, encode_image
from imagefleet_worker.storage.parameters_text import fit_parameters

FORMATS = list(ImageFormat)
PARAMETERS: dict[str, Any] = {"prompt": "a dog", "steps": 4, "seed": 7, "guidance_scale": 3.5, "negative_prompt": None}
PROMPTS = ["a dog", "Hündin", "犬が走る", "a 🐶 in a 🌲", 'quotes " and \\ and\nlines', "\x00\x1b"]


def picture(side: int = 64) -> Image.Image:
    """An image in which each pixel differs from its neighbours in colour."""
    image = Image.new("RGB", (side, side // 2))
    image.putdata([(x * 4 % 256, y * 8 % 256, (x ^ y) * 4 % 256) for y in range(side // 2) for x in range(side)])
    return image


def made(kind: ImageFormat, *, quality: int | None = None, settings: Any = None, **parameters: Any) -> EncodedImage:
    return encode_image(
        picture(),
        format=kind,
        quality=quality,
        seed=7,
        parameters={**PARAMETERS, **parameters},
        settings=settings or EncodingSettings(),
    )


def opened(file: EncodedImage) -> Image.Image:
    image = Image.open(io.BytesIO(file.data))
    image.load()
    return image


def text_inside(file: EncodedImage) -> str:
    """The JSON text in a file, read as other programs read it."""
    image = opened(file)
    if file.format is ImageFormat.PNG:
        return str(image.info["parameters"])
    comment = image.getexif().get_ifd(IFD.Exif)[Base.UserComment]
    assert comment.startswith(b"UNICODE\0")
    return comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_is_what_its_description_says(kind: ImageFormat) -> None:
    file = made(kind)

    assert opened(file).format == kind.value.upper()
    assert opened(file).size == (file.width, file.height) == (64, 32)
    assert file.sha256 == hashlib.sha256(file.data).hexdigest()
    assert (file.seed, file.format) == (7, kind)


@pytest.mark.parametrize("kind", [ImageFormat.PNG, ImageFormat.WEBP])
def test_png_and_webp_without_quality_keep_every_pixel(kind: ImageFormat) -> None:
    assert opened(made(kind)).convert("RGB").tobytes() == picture().tobytes()


@pytest.mark.parametrize("kind", [ImageFormat.WEBP, ImageFormat.JPEG])
def test_a_lower_quality_makes_a_smaller_file(kind: ImageFormat) -> None:
    assert len(made(kind, quality=10).data) < len(made(kind, quality=90).data)


def test_jpeg_without_quality_has_that_of_the_settings() -> None:
    low = made(ImageFormat.JPEG, settings=EncodingSettings(jpeg_quality=10))

    assert low.data == made(ImageFormat.JPEG, quality=10).data != made(ImageFormat.JPEG).data


@pytest.mark.parametrize(("quality", "horizontal"), [(94, 2), (95, 1), (100, 1)])
def test_jpeg_keeps_the_full_resolution_of_colour_from_95_on(quality: int, horizontal: int) -> None:
    """4:2:0 below, 4:4:4 from there: the sampling factors stand in the file."""
    luma = opened(made(ImageFormat.JPEG, quality=quality)).layer[0]  # type: ignore[attr-defined]  # JpegImageFile's

    assert luma[1] == horizontal


def test_the_settings_choose_the_png_level() -> None:
    sizes = [len(made(ImageFormat.PNG, settings=EncodingSettings(png_level=level)).data) for level in (0, 1)]

    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_parameters_come_back_from_inside_the_file(kind: ImageFormat, prompt: str) -> None:
    assert json.loads(text_inside(made(kind, prompt=prompt))) == {**PARAMETERS, "prompt": prompt}


@pytest.mark.parametrize("kind", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_exif_says_big_endian_as_its_comment_is(kind: ImageFormat) -> None:
    """Readers take the byte order of the comment from that of the EXIF data."""
    assert opened(made(kind)).info["exif"].removeprefix(b"Exif\0\0").startswith(b"MM")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_settings_can_keep_the_parameters_out(kind: ImageFormat) -> None:
    file = made(kind, settings=EncodingSettings(embed_parameters=False))

    assert b"a dog" not in file.data
    assert "a dog".encode("utf-16-be") not in file.data
    assert "exif" not in opened(file).info


@pytest.mark.parametrize("kind", FORMATS)
def test_the_longest_prompts_that_a_job_may_have_make_a_file(kind: ImageFormat) -> None:
    """EXIF in JPEG ends at 65,533 bytes; two such prompts in UTF-16 take 80,000."""
    kept = json.loads(text_inside(made(kind, prompt="🐶" * 10_000, negative_prompt="🌲" * 10_000)))

    assert kept["steps"] == 4
    assert kept["prompt"].startswith("🐶" * 5000)
    assert kept["negative_prompt"].startswith("🌲" * 5000)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_other_modes_become_files_too(kind: ImageFormat, mode: str) -> None:
    file = encode_image(
        picture().convert(mode), format=kind, quality=None, seed=1, parameters={}, settings=EncodingSettings()
    )

    assert opened(file).size == (64, 32)


def test_one_image_encoded_by_many_threads_comes_out_as_by_one() -> None:
    """Pillow keeps the options of `save` in the image object: shared, one call's level would become another's."""
    image = picture(256)

    def at(level: int) -> bytes:
        settings = EncodingSettings(png_level=level)
        return encode_image(image, format=ImageFormat.PNG, quality=None, seed=1, parameters={}, settings=settings).data

    alone = [at(level) for level in range(10)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(at, [*range(10)] * 8))

    assert together == alone * 8
    assert image.info == {}


@pytest.mark.parametrize("most", [0, 2, 40, 100, 300, 1500])
@pytest.mark.parametrize("prompt", ["x" * 3000, "犬" * 3000, '"\\' * 1500, "🐶" * 2000])
def test_a_caption_always_fits_and_is_always_json(prompt: str, most: int) -> None:
    text = fit_parameters({**PARAMETERS, "prompt": prompt, "list": [1, 2, 3]}, most=most, only_ascii=True)

    assert len(text) <= max(most, len("{}"))
    assert set(json.loads(text)) <= {*PARAMETERS, "list"}


def test_a_caption_cuts_the_longest_text_and_keeps_the_rest() -> None:
    kept = json.loads(fit_parameters({**PARAMETERS, "prompt": "dog " * 1000}, most=200))

    assert {**PARAMETERS, "prompt": kept["prompt"]} == kept
    assert kept["prompt"].endswith("...")
    assert ("dog " * 1000).startswith(kept["prompt"].removesuffix("..."))


def test_a_caption_uses_the_room_that_there_is() -> None:
    assert len(fit_parameters({"prompt": "x" * 3000}, most=200)) == 200
