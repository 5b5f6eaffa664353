"""What the demo's model was asked to draw, and whether a picture shows it.

The drawing script in examples/demo-model says where sky, ground and thing are; a picture is read by that.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

_ROOT: Final = Path(__file__).resolve().parents[3]
sys.path.append(str(_ROOT / "examples" / "demo-model"))  # a folder of scripts, not installed

from demomodel.captions import plain as prompt_for  # noqa: E402
from demomodel.checker import read  # noqa: E402
from demomodel.scenes import Scene, all_scenes  # noqa: E402

__all__ = ["LORA", "MODEL", "SCENES", "Scene", "prompt_for", "read", "shows"]

_LOCAL: Final = _ROOT / "worker" / "imagefleet_worker" / "local"
#: The pipeline that ships in the wheel, and a LoRA for it that draws in pencil.
MODEL: Final = _LOCAL / "demo_model"
LORA: Final = _LOCAL / "demo_lora"
#: A hundred of the 672 scenes, the same each time.
SCENES: Final[Sequence[Scene]] = random.Random(18).sample(all_scenes(), 100)


def shows(picture: Image.Image, scene: Scene) -> bool:
    """Whether *picture* has the thing, its color, the ground and the time of day of *scene*."""
    return read(picture) == scene
