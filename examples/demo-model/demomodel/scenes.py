"""The pictures that the model learns from: one thing on a ground under a sky, drawn by these few shapes.

Lengths are shares of the picture's shorter side, and points of a thing are relative to where it stands: right and down
are positive.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from demomodel.palette import COLORS, DARK, GROUNDS, PAINTS, SKIES, TIMES, Rgb, tinted
from demomodel.shapes import SHAPES, Part

#: Where the ground begins, as a share of the picture's height.
HORIZON: Final = 0.66
#: How far below the horizon a thing stands.
_FOOT: Final = 0.07
#: Things are drawn this much larger, then averaged: smooth edges.
_FINE: Final = 4


class Scene(NamedTuple):
    """What is to be seen: a key each of `SHAPES`, `COLORS`, `GROUNDS` and `TIMES`."""

    thing: str
    color: str
    ground: str
    time: str


@dataclass(frozen=True)
class Placement:
    """What no prompt says: where the thing stands, how large it is, on which side the sun is, where the clouds are."""

    x: float = 0.5  # of the width
    size: float = 1.0
    sun: Literal["left", "right"] = "right"
    clouds: tuple[float, ...] = ()  # of the width


def all_scenes() -> Sequence[Scene]:
    """Each scene that the model knows."""
    return [Scene(*each) for each in product(SHAPES, COLORS, GROUNDS, TIMES)]


def place(random: Random) -> Placement:
    """A place by chance."""
    return Placement(
        x=random.uniform(0.36, 0.64),
        size=random.uniform(0.95, 1.15),
        sun=random.choice(("left", "right")),
        clouds=tuple(random.uniform(0, 1) for _ in range(2)),
    )


def draw(scene: Scene, placement: Placement, *, width: int, height: int) -> Image.Image:
    """The picture of *scene*, *width* times *height* pixels."""
    canvas = _Canvas(placement, width * _FINE, height * _FINE)
    canvas.sky(scene.time)
    canvas.ground(scene.ground, scene.time)
    canvas.thing(scene.thing, paints_of(scene.color, scene.time))
    return canvas.image.reduce(_FINE)


def draw_thing(thing: str, paints: Mapping[str, Rgb], placement: Placement, *, width: int, height: int) -> Image.Image:
    """*thing* alone on black, painted with *paints*."""
    canvas = _Canvas(placement, width * _FINE, height * _FINE)
    canvas.thing(thing, paints)
    return canvas.image.reduce(_FINE)


def paints_of(color: str, time: str) -> Mapping[str, Rgb]:
    """The paints of a thing of *color* at *time*."""
    own = COLORS[color]
    light = {"pane": PAINTS["lamp"]} if time == "night" else {}
    return PAINTS | {"body": own, "dark": _rgb(np.array(own) * DARK)} | light


class _Canvas:
    """A scene while it is drawn, from back to front."""

    def __init__(self, placement: Placement, width: int, height: int) -> None:
        self._placement = placement
        self._width = width
        self._height = height
        self._unit = min(width, height)
        self._horizon = round(height * HORIZON)
        self.image = Image.new("RGB", (width, height))
        self._draw = ImageDraw.Draw(self.image)

    def sky(self, time: str) -> None:
        """A gradient, the sun or the moon, and clouds by day or stars by night."""
        top, low = (np.array(each) for each in SKIES[time])
        for y in range(self._horizon):
            share = y / self._horizon
            self._draw.line([(0, y), (self._width, y)], fill=_rgb(top * (1 - share) + low * share))
        right = self._placement.sun == "right"
        self._disc(0.84 if right else 0.16, 0.17, 0.085, TIMES[time].light)
        if time == "day":
            for x, y in zip(self._placement.clouds, (0.13, 0.29), strict=False):
                self._cloud(x, y)
        elif time == "night":
            for x, y in ((0.3, 0.1), (0.66, 0.2), (0.1, 0.36), (0.9, 0.42), (0.46, 0.06)):
                self._disc(x, y, 0.012, (235, 235, 225))

    def ground(self, ground: str, time: str) -> None:
        """Hills or dunes far off, the ground, and lines across it."""
        look = GROUNDS[ground]
        for x, width, height in look.hills:
            box = self._box((x - width) * self._width, (x + width) * self._width, height)
            self._draw.ellipse(box, fill=tinted(look.far, time))
        self._draw.rectangle([0, self._horizon, self._width, self._height], fill=tinted(look.color, time))
        thick = max(1, round(self._unit * 0.018))
        for x, y, length in look.lines:
            row = self._horizon + round(y * (self._height - self._horizon))
            left = x * self._width
            self._draw.line(
                [(left, row), (left + length * self._width, row)], fill=tinted(look.line, time), width=thick
            )

    def thing(self, thing: str, paints: Mapping[str, Rgb]) -> None:
        """The thing itself, where it stands."""
        for part in SHAPES[thing]:
            self._part(part, paints[part.paint])

    def _part(self, part: Part, color: Rgb) -> None:
        scale = self._unit * self._placement.size
        foot_x, foot_y = self._placement.x * self._width, self._horizon + _FOOT * self._unit
        points = [(foot_x + x * scale, foot_y + y * scale) for x, y in part.points]
        if part.kind == "polygon":
            self._draw.polygon(points, fill=color)
        elif part.kind == "line":
            self._draw.line(points, fill=color, width=max(1, round(scale * 0.015)))
        elif part.kind == "ellipse":
            self._draw.ellipse(points, fill=color)
        else:
            self._draw.pieslice(points, 180, 360, fill=color)

    def _cloud(self, x: float, y: float) -> None:
        for right, down, size in ((-0.07, 0.01, 0.035), (0.0, -0.01, 0.05), (0.075, 0.012, 0.032)):
            self._disc(x + right * self._unit / self._width, y + down, size, (247, 250, 253))

    def _disc(self, x: float, y: float, radius: float, color: Rgb) -> None:
        x, y, radius = x * self._width, y * self._height, radius * self._unit
        self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)

    def _box(self, left: float, right: float, height: float) -> list[float]:
        rise = height * self._unit
        return [left, self._horizon - rise, right, self._horizon + rise]


def _rgb(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = (int(each) for each in values)
    return red, green, blue


def samples(random: Random, count: int) -> Iterator[tuple[Scene, Placement]]:
    """*count* scenes with their places, all scenes equally often."""
    scenes = all_scenes()
    for number in range(count):
        if number % len(scenes) == 0:
            order = random.sample(range(len(scenes)), len(scenes))
        yield scenes[order[number % len(scenes)]], place(random)
