"""The colors of everything: red, green and blue from 0 to 255."""

from typing import Final, NamedTuple

Rgb = tuple[int, int, int]

#: What a thing may be painted with.
COLORS: Final[dict[str, Rgb]] = {
    "red": (208, 44, 44),
    "orange": (242, 134, 30),
    "yellow": (248, 218, 62),
    "green": (44, 150, 72),
    "blue": (46, 92, 214),
    "purple": (142, 66, 178),
    "white": (248, 248, 244),
}
#: Parts that look the same whatever the thing's color.
PAINTS: Final[dict[str, Rgb]] = {
    "wood": (104, 72, 48),
    "dim": (58, 44, 44),
    "pale": (250, 250, 246),
    "cream": (240, 228, 206),
    "pane": (196, 226, 240),
    "lamp": (255, 228, 126),
}
#: How much darker the dark parts of a thing are than its color.
DARK: Final = 0.68
#: The sky at its top and at the horizon.
SKIES: Final[dict[str, tuple[Rgb, Rgb]]] = {
    "day": ((112, 184, 242), (214, 236, 250)),
    "dusk": ((110, 74, 142), (252, 172, 112)),
    "night": ((12, 16, 46), (46, 56, 112)),
}


class Time(NamedTuple):
    """How a time of day colors the ground, and what shines: the sun or the moon."""

    tint: tuple[float, float, float]
    light: Rgb


TIMES: Final[dict[str, Time]] = {
    "day": Time((1.0, 1.0, 1.0), (255, 236, 120)),
    "dusk": Time((0.86, 0.70, 0.74), (255, 128, 72)),
    "night": Time((0.44, 0.46, 0.62), (242, 242, 218)),
}


class Ground(NamedTuple):
    """A ground: hills are (x, half width, height), lines are (x, y, length), as shares of the picture or the ground."""

    color: Rgb
    far: Rgb
    line: Rgb
    hills: tuple[tuple[float, float, float], ...] = ()
    lines: tuple[tuple[float, float, float], ...] = ()


GROUNDS: Final[dict[str, Ground]] = {
    "sea": Ground(
        (36, 104, 160),
        (36, 104, 160),
        (96, 160, 206),
        lines=((0.06, 0.3, 0.16), (0.74, 0.42, 0.2), (0.3, 0.66, 0.24), (0.66, 0.85, 0.14)),
    ),
    "meadow": Ground(
        (104, 168, 76),
        (70, 134, 72),
        (76, 138, 60),
        hills=((0.1, 0.36, 0.1), (0.85, 0.4, 0.14)),
        lines=((0.1, 0.5, 0.05), (0.84, 0.36, 0.05), (0.3, 0.82, 0.05), (0.7, 0.72, 0.05)),
    ),
    "desert": Ground(
        (228, 196, 130),
        (206, 164, 100),
        (204, 166, 104),
        hills=((0.26, 0.4, 0.09), (1.0, 0.3, 0.12)),
        lines=((0.0, 0.55, 0.2), (0.72, 0.75, 0.28)),
    ),
    "snow": Ground(
        (232, 238, 246),
        (190, 204, 226),
        (204, 216, 234),
        hills=((0.05, 0.3, 0.16), (0.9, 0.34, 0.18)),
        lines=((0.04, 0.6, 0.18), (0.7, 0.5, 0.22)),
    ),
}


def tinted(color: Rgb, time: str) -> Rgb:
    """How *color* of a ground looks at *time*."""
    red, green, blue = (int(value * share) for value, share in zip(color, TIMES[time].tint, strict=True))
    return red, green, blue
