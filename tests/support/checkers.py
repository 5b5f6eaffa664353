"""Checkers as an operator might write them, for IMAGEFLEET_MODEL_CHECKER."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image


def by_prompt(images: Sequence[Image.Image], job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Flag image 1 of jobs whose prompt has the word bad; spoil what it was given."""
    for image in images:
        image.paste(0, (0, 0, *image.size))
    is_bad = "bad" in job["prompt"]
    return [
        {"flagged": is_bad and index == 1, "labels": {"bad": 0.9 if is_bad else 0.1}} for index in range(len(images))
    ]


def failing(images: Sequence[Image.Image], job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A checker whose model is broken."""
    raise RuntimeError("no weights")


def forgetful(images: Sequence[Image.Image], job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say nothing of the last image."""
    return [{} for _ in images[1:]]


def wordy(images: Sequence[Image.Image], job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say something that is no verdict."""
    return [{"score": 0.5} for _ in images]


#: No function.
NOTHING = 7
