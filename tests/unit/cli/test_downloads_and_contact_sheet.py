"""File names and the contact sheet."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from imagefleet.cli.contact_sheet import MOST_IMAGES, wrap, write_contact_sheet
from imagefleet.cli.downloads import Downloads, Picture, slug
from imagefleet.contract.results import Artifact


def picture(path: Path, number: int) -> Picture:
    artifact = Artifact.model_validate(
        {"uri": "s3://b/k", "media_type": "image/png", "format": "png", "width": 64, "height": 64, "seed": number}
        | {"sha256": "0" * 64, "size_bytes": 1}
    )
    return Picture(number, path, "a dog on a very long walk " * 5, artifact)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A Red Fox!", "a-red-fox"),
        ("../../etc/passwd", "etc-passwd"),
        ("...", "image"),
        ("x" * 99, "x" * 40),
        ("日本 の山", "日本-の山"),
    ],
)
def test_a_prompt_makes_a_safe_file_name(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_downloads_make_their_folder(tmp_path: Path) -> None:
    """`make demo` stores into one that a fresh clone does not have."""
    with Downloads(tmp_path / "a" / "b") as downloads:
        assert downloads.finish() == ([], [])
    assert (tmp_path / "a" / "b").is_dir()


def test_wrapped_lines_fit_and_a_cut_is_shown() -> None:
    font = ImageFont.load_default(14)
    lines = wrap("short words and " + "averylongword" * 20, font=font, width=120, lines=3)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 120 for line in lines)
    assert lines[-1].endswith("…")


def test_every_image_is_on_the_sheet(tmp_path: Path) -> None:
    """Each in its own colour, so that the sheet can be searched for it."""
    colours = [(200, 10 * number, 40) for number in range(5)]
    pictures = []
    for number, colour in enumerate(colours):
        Image.new("RGB", (64, 32), colour).save(tmp_path / f"{number}.png")
        pictures.append(picture(tmp_path / f"{number}.png", number))
    write_contact_sheet(pictures, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        seen = {colour for _, colour in sheet.getcolors(1 << 20) or []}
    assert seen >= set(colours)


def test_warnings_are_below_their_image(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    plain = picture(tmp_path / "a.png", 1)
    sizes, colours = [], []
    for each in (plain, replace(plain, warnings=("prompt_truncated",))):
        write_contact_sheet([plain, each], tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            sizes.append(sheet.height)
            colours.append({colour for _, colour in sheet.getcolors(1 << 20) or []})
    assert sizes[1] > sizes[0]
    assert (163, 74, 0) in colours[1] - colours[0]


def test_a_sheet_is_bounded(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    heights = []
    for count in (MOST_IMAGES + 1, MOST_IMAGES + 500):
        write_contact_sheet([picture(tmp_path / "a.png", 1)] * count, tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
    assert heights[0] == heights[1]
