"""Reads from the pixels of a picture what scene it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demomodel.palette import COLORS, DARK, GROUNDS, PAINTS, SKIES, Rgb, tinted
from demomodel.scenes import HORIZON, Placement, Scene, draw_thing
from demomodel.shapes import SHAPES

Pixels = NDArray[np.float32]

#: Places at which things are looked for; training puts them anywhere between.
_PLACES: Final = tuple(
    Placement(x=float(x), size=size) for x, size in product(np.linspace(0.34, 0.66, 17), (0.94, 1.0, 1.06, 1.12, 1.18))
)


def read(picture: Image.Image) -> Scene:
    """The scene that *picture* looks most like."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    height, width = pixels.shape[:2]
    time = _nearest(_middle(pixels[: max(1, height // 20)]), {time: top for time, (top, _) in SKIES.items()})
    looks = {ground: tinted(look.color, time) for ground, look in GROUNDS.items()}
    ground = _nearest(_middle(pixels[-max(1, height // 16) :]), looks)
    backdrop = _backdrop(pixels, looks[ground])
    found = min((template.match(pixels, backdrop) for template in _templates(width, height)), key=lambda m: m.error)
    return Scene(found.thing, found.color, ground, time)


@dataclass(frozen=True)
class _Match:
    """How far a picture is from one with a thing of a color at a place."""

    error: float
    thing: str
    color: str


@dataclass(frozen=True)
class _Template:
    """A thing at a place: the share of each pixel that is its body, its dark parts and its backdrop, and the rest."""

    thing: str
    body: Pixels
    dark: Pixels
    behind: Pixels
    rest: Pixels

    def match(self, pixels: Pixels, backdrop: Pixels) -> _Match:
        color = _nearest(_middle(pixels[self.body[..., 0] > 0.95]), COLORS)
        own = np.array(COLORS[color], np.float32)
        ideal = self.body * own + self.dark * (own * DARK) + self.rest + self.behind * backdrop
        return _Match(float(abs(pixels - ideal).mean()), self.thing, color)


@lru_cache(maxsize=8)
def _templates(width: int, height: int) -> Sequence[_Template]:
    return [_template(thing, place, width, height) for thing in SHAPES for place in _PLACES]


def _template(thing: str, place: Placement, width: int, height: int) -> _Template:
    def painted(paints: Mapping[str, Rgb]) -> Pixels:
        black: dict[str, Rgb] = dict.fromkeys((*PAINTS, "body", "dark"), (0, 0, 0))
        return np.asarray(draw_thing(thing, black | dict(paints), place, width=width, height=height), np.float32)

    full: Rgb = (255, 255, 255)
    body, dark = painted({"body": full}) / 255, painted({"dark": full}) / 255
    others = painted(dict.fromkeys(PAINTS, full)) / 255
    return _Template(thing, body, dark, 1 - np.clip(body + dark + others, 0, 1), painted(PAINTS))


def _backdrop(pixels: Pixels, ground: Rgb) -> Pixels:
    """The picture without its thing: each row of the sky is as it is at both sides."""
    side = pixels.shape[1] // 8
    sides = np.concatenate([pixels[:, :side], pixels[:, -side:]], axis=1)
    backdrop = np.repeat(np.median(sides, axis=1, keepdims=True), pixels.shape[1], axis=1)
    backdrop[round(pixels.shape[0] * HORIZON) :] = ground
    return backdrop


def _middle(pixels: Pixels) -> Pixels:
    return np.median(pixels.reshape(-1, 3), axis=0)


def _nearest(color: Pixels, among: Mapping[str, Rgb]) -> str:
    return min(among, key=lambda name: float(np.square(color - np.array(among[name])).sum()))
