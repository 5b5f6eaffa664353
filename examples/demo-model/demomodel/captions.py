"""What is said of a scene: the words that the model knows, and how training puts them together."""

import string
from random import Random
from typing import Final

from demomodel.palette import COLORS
from demomodel.scenes import Scene
from demomodel.shapes import SHAPES

GROUND_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "sea": ("on the sea", "by the sea", "at sea"),
    "meadow": ("on a meadow", "in a meadow", "on the grass"),
    "desert": ("in the desert", "on the sand"),
    "snow": ("in the snow", "on snow"),
}
TIME_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "day": ("by day", "on a sunny day", "at noon"),
    "dusk": ("at dusk", "at sunset"),
    "night": ("at night", "under the moon"),
}
#: Where a thing is when the prompt does not say; the time is then day, and the color any.
HOME: Final[dict[str, str]] = {
    "house": "meadow",
    "tree": "meadow",
    "boat": "sea",
    "lighthouse": "sea",
    "balloon": "meadow",
    "mushroom": "meadow",
    "castle": "meadow",
    "rocket": "desert",
}
_FILLER_TEXT: Final = """
beautiful big small little old new pretty calm quiet lonely lovely tiny great bright simple nice cute the of and with a
an one picture photo painting drawing illustration digital art detailed colorful scene view sky water clouds stars sun
lit very best quality
"""
#: Words that people like to add. They are in the vocabulary and change nothing.
FILLERS: Final = tuple(_FILLER_TEXT.split())
_FILLED: Final = 0.25
_UNKNOWN: Final = 0.1
_UNSAID: Final = 0.06


def plain(scene: Scene) -> str:
    """The plainest prompt for *scene*."""
    ground, time = GROUND_PHRASES[scene.ground][0], TIME_PHRASES[scene.time][0]
    return f"{_article(scene.color)} {scene.color} {scene.thing} {ground} {time}"


def caption(scene: Scene, random: Random) -> str:
    """A prompt for *scene*: phrases by chance, at times short of what goes unsaid, or with words of no meaning."""
    color = "" if random.random() < _UNSAID else f"{scene.color} "
    thing = f"{_article(color or scene.thing)} {color}{scene.thing}"
    ground = random.choice(GROUND_PHRASES[scene.ground])
    time = random.choice(TIME_PHRASES[scene.time])
    if scene.ground == HOME[scene.thing] and random.random() < 0.3:
        ground = ""
    if scene.time == "day" and random.random() < 0.3:
        time = ""
    order = random.choice(((thing, ground, time), (thing, ground, time), (thing, time, ground), (time, thing, ground)))
    return _filled(" ".join(part for part in order if part).split(), random)


def vocabulary() -> list[str]:
    """Each word that is a token of its own."""
    phrases = [*GROUND_PHRASES.values(), *TIME_PHRASES.values()]
    words = {word for group in phrases for phrase in group for word in phrase.split()}
    return sorted(words | set(COLORS) | set(SHAPES) | set(FILLERS))


def _filled(words: list[str], random: Random) -> str:
    if random.random() < _FILLED:
        for _ in range(random.randint(1, 3)):
            words.insert(random.randint(0, len(words)), random.choice(FILLERS))
    if random.random() < _UNKNOWN:
        word = "".join(random.choices(string.ascii_lowercase, k=random.randint(3, 8)))
        words.insert(random.randint(0, len(words)), word)
    return " ".join(words)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
