"""The default model of `imagefleet up`: a tiny one that draws simple scenes, and ships with this package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: A Stable Diffusion pipeline of 9 MB; how it was trained and what it knows is in examples/demo-model.
FOLDER: Final = Path(__file__).with_name("demo_model")
#: A prompt that it draws well.
EXAMPLE: Final = "a red lighthouse by the sea at dusk"
#: Settings of workers that serve it: its pipeline would take 50 steps, and 20 draw as well.
SETTINGS: Final[Mapping[str, str]] = {"IMAGEFLEET_MODEL_DEFAULT_STEPS": "20"}
