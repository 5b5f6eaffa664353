"""The eight things, each as a few shapes from back to front, with its foot at the origin."""

from typing import Final, Literal, NamedTuple

Point = tuple[float, float]


class Part(NamedTuple):
    """A shape; ellipses and caps (upper halves of ellipses) have two points: the corners of their box."""

    kind: Literal["polygon", "ellipse", "cap", "line"]
    paint: str
    points: tuple[Point, ...]


def _polygon(paint: str, *points: Point) -> Part:
    return Part("polygon", paint, points)


def _box(paint: str, left: float, top: float, right: float, low: float) -> Part:
    return Part("polygon", paint, ((left, top), (right, top), (right, low), (left, low)))


def _ellipse(paint: str, left: float, top: float, right: float, low: float) -> Part:
    return Part("ellipse", paint, ((left, top), (right, low)))


def _line(paint: str, *points: Point) -> Part:
    return Part("line", paint, points)


_HOUSE = (
    _box("body", -0.18, -0.27, 0.18, 0.02),
    _polygon("dark", (-0.24, -0.26), (0, -0.47), (0.24, -0.26)),
    _box("wood", -0.045, -0.13, 0.045, 0.02),
    _box("pane", -0.145, -0.21, -0.075, -0.13),
    _box("pane", 0.075, -0.21, 0.145, -0.13),
)
_TREE = (
    _box("wood", -0.035, -0.2, 0.035, 0.02),
    _ellipse("body", -0.22, -0.38, 0.02, -0.14),
    _ellipse("body", -0.02, -0.38, 0.22, -0.14),
    _ellipse("body", -0.14, -0.52, 0.14, -0.24),
)
_BOAT = (
    _box("wood", -0.012, -0.46, 0.012, -0.1),
    _polygon("pale", (0.025, -0.43), (0.21, -0.13), (0.025, -0.13)),
    _polygon("body", (-0.025, -0.4), (-0.15, -0.13), (-0.025, -0.13)),
    _polygon("body", (-0.26, -0.1), (0.26, -0.1), (0.17, 0.06), (-0.17, 0.06)),
)
_LIGHTHOUSE = (
    _polygon("body", (-0.11, 0.02), (-0.07, -0.42), (0.07, -0.42), (0.11, 0.02)),
    _polygon("pale", (-0.085, -0.26), (-0.079, -0.33), (0.079, -0.33), (0.085, -0.26)),
    _polygon("pale", (-0.1, -0.09), (-0.094, -0.16), (0.094, -0.16), (0.1, -0.09)),
    _box("dim", -0.09, -0.44, 0.09, -0.415),
    _box("lamp", -0.05, -0.52, 0.05, -0.44),
    _polygon("dark", (-0.075, -0.52), (0, -0.6), (0.075, -0.52)),
)
_BALLOON = (
    _line("wood", (-0.11, -0.26), (-0.045, -0.12)),
    _line("wood", (0.11, -0.26), (0.045, -0.12)),
    _ellipse("body", -0.18, -0.6, 0.18, -0.22),
    _ellipse("dark", -0.05, -0.6, 0.05, -0.22),
    _box("wood", -0.055, -0.13, 0.055, -0.04),
)
_MUSHROOM = (
    _box("cream", -0.06, -0.16, 0.06, 0.03),
    Part("cap", "body", ((-0.22, -0.38), (0.22, 0.06))),
    _ellipse("pale", -0.13, -0.25, -0.07, -0.19),
    _ellipse("pale", -0.02, -0.34, 0.05, -0.27),
    _ellipse("pale", 0.09, -0.26, 0.15, -0.2),
)
_CASTLE = (
    _box("body", -0.2, -0.22, 0.2, 0.02),
    _box("body", -0.24, -0.34, -0.12, 0.02),
    _box("body", 0.12, -0.34, 0.24, 0.02),
    _polygon("dark", (-0.265, -0.33), (-0.18, -0.5), (-0.095, -0.33)),
    _polygon("dark", (0.095, -0.33), (0.18, -0.5), (0.265, -0.33)),
    _box("wood", -0.05, -0.12, 0.05, 0.02),
    _box("pane", -0.2, -0.27, -0.16, -0.2),
    _box("pane", 0.16, -0.27, 0.2, -0.2),
)
_ROCKET = (
    _polygon("dark", (-0.08, -0.16), (-0.17, 0.02), (-0.08, -0.02)),
    _polygon("dark", (0.08, -0.16), (0.17, 0.02), (0.08, -0.02)),
    _box("dim", -0.05, -0.03, 0.05, 0.01),
    _polygon("body", (-0.07, -0.02), (-0.1, -0.22), (-0.075, -0.4), (0.075, -0.4), (0.1, -0.22), (0.07, -0.02)),
    _polygon("dark", (-0.077, -0.39), (0, -0.58), (0.077, -0.39)),
    _ellipse("pane", -0.045, -0.33, 0.045, -0.24),
)

SHAPES: Final[dict[str, tuple[Part, ...]]] = {
    "house": _HOUSE,
    "tree": _TREE,
    "boat": _BOAT,
    "lighthouse": _LIGHTHOUSE,
    "balloon": _BALLOON,
    "mushroom": _MUSHROOM,
    "castle": _CASTLE,
    "rocket": _ROCKET,
}
