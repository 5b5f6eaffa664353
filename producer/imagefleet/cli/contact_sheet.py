"""Draws a contact sheet: all images of a run on one page, with the prompt and the seed below each."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from imagefleet.cli.downloads import Picture

_CELL: Final = 256
_GAP: Final = 16
_LINE: Final = 18
_LINES: Final = 3
_FONT_SIZE: Final = 14
_MOST_COLUMNS: Final = 6
#: A page with more images is too large for many viewers.
MOST_IMAGES: Final = 120
_PAPER, _INK, _FAINT, _MAT, _WARNING = "#ffffff", "#1b1b1f", "#6b6b76", "#ececf0", "#a34a00"
#: Fonts with more than Latin letters first.
_FONTS: Final = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_contact_sheet(pictures: Sequence[Picture], path: Path) -> None:
    """Write a PNG of *pictures* to *path*; those after the first `MOST_IMAGES` are only counted."""
    shown = pictures[:MOST_IMAGES]
    columns = min(_MOST_COLUMNS, max(1, math.ceil(math.sqrt(len(shown)))))
    rows = math.ceil(len(shown) / columns)
    left_out = len(pictures) - len(shown)
    row_height = _row_height(shown)
    height = _GAP + rows * row_height + (_LINE + _GAP if left_out else 0)
    sheet = Image.new("RGB", (_GAP + columns * (_CELL + _GAP), height), _PAPER)
    font = _font()
    for index, picture in enumerate(shown):
        row, column = divmod(index, columns)
        _paste(sheet, picture, at=(_GAP + column * (_CELL + _GAP), _GAP + row * row_height), font=font)
    if left_out:
        ImageDraw.Draw(sheet).text((_GAP, height - _LINE - _GAP), f"and {left_out} more", font=font, fill=_FAINT)
    sheet.save(path)


def wrap(text: str, *, font: Font, width: int, lines: int) -> list[str]:
    """Break *text* into at most *lines* lines of at most *width* pixels; a longer text ends in an ellipsis."""
    wrapped = [""]
    for word in text.split():
        joined = f"{wrapped[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            wrapped[-1] = joined
            continue
        pieces = _pieces(word, font=font, width=width)
        wrapped += pieces if wrapped[-1] else []
        wrapped = wrapped if wrapped[0] else pieces
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], _cut(wrapped[lines - 1], font=font, width=width)]
    return wrapped


def _pieces(word: str, *, font: Font, width: int) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _cut(line: str, *, font: Font, width: int) -> str:
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"


def _paste(sheet: Image.Image, picture: Picture, *, at: tuple[int, int], font: Font) -> None:
    left, top = at
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_MAT)
    with Image.open(picture.path) as image:
        # Small images are enlarged without smoothing, which shows their pixels.
        method = Image.Resampling.NEAREST if max(image.size) < _CELL else Image.Resampling.LANCZOS
        thumbnail = ImageOps.contain(image.convert("RGB"), (_CELL, _CELL), method)
        size = f"{image.width}x{image.height}"
    sheet.paste(thumbnail, (left + (_CELL - thumbnail.width) // 2, top + (_CELL - thumbnail.height) // 2))
    below = top + _CELL + _GAP // 2
    for number, line in enumerate(wrap(picture.prompt, font=font, width=_CELL, lines=_LINES)):
        draw.text((left, below + number * _LINE), line, font=font, fill=_INK)
    caption = f"{picture.number:03} · seed {picture.artifact.seed} · {size}"
    draw.text((left, below + _LINES * _LINE), caption, font=font, fill=_FAINT)
    for line in wrap(", ".join(picture.warnings), font=font, width=_CELL, lines=1):
        draw.text((left, below + (_LINES + 1) * _LINE), line, font=font, fill=_WARNING)


def _row_height(pictures: Sequence[Picture]) -> int:
    lines = _LINES + (2 if any(picture.warnings for picture in pictures) else 1)
    return _CELL + _GAP // 2 + lines * _LINE + _GAP


def _font() -> Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, _FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(_FONT_SIZE)
