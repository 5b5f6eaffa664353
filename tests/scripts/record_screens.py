"""Records the README's screens from a real fleet: two workers on the CPU with a tiny model of random weights.

    python -m tests.scripts.record_screens [FOLDER]

writes `top.svg` and `bars.svg` to FOLDER, `docs/screens` without one. Nothing in them is made up: the same code prints
them as `imagefleet top` and `imagefleet submit --wait` do, only onto a console that keeps what it is given.
"""

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI
from tests.support.models.tiny_pipelines import build
from tests.support.waiting import wait_until

from imagefleet import Client, Overview
from imagefleet.cli.progress_view import Bars
from imagefleet.cli.top_screen import Screen
from imagefleet.store.redis_url import without_credentials
from imagefleet_worker.local.fleet import LocalFleet
from imagefleet_worker.local.models import LocalModel

_WIDTH: Final = 112
_WORKERS: Final = 2
_FONT_FACE: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_PROMPTS: Final = (
    "a lighthouse at dusk",
    "a red fox in the snow",
    "a teapot made of glass",
    "a map of an island",
    "an owl, woodcut",
    "a tram in the rain",
    "a paper boat",
    "the sea from above",
    "a bowl of cherries",
    "a whale over the city",
    "a garden of machines",
    "a stone bridge in fog",
)


def main(folder: Path) -> None:
    """Run the fleet, give it work, and record both screens."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imagefleet-screens-") as data:
        model = build("sd", Path(data) / "model")
        with (
            LocalFleet(Path(data), models=[LocalModel(str(model))], workers=_WORKERS) as fleet,
            Client(fleet.redis.url) as client,
        ):
            labels = _submit(client)
            record(folder / "bars.svg", "imagefleet submit --file prompts.txt --wait", _bars(client, labels))
            labels |= _submit(client)
            seen = wait_until(lambda: _at_work(client), 120, every_s=0.5)
            record(
                folder / "top.svg",
                "imagefleet top",
                Screen(seen, without_credentials(fleet.redis.url), hint=" · every 2s · Ctrl-C"),
            )
            for job_id in labels:
                client.cancel(job_id)


def record(path: Path, title: str, screen: RenderableType) -> None:
    """Write what a terminal would show as a picture."""
    console = Console(record=True, width=_WIDTH, force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print(screen)
    picture = console.export_svg(title=title, theme=MONOKAI)
    path.write_text(_FONT_FACE.sub("", picture))  # nothing is fetched to show it: any fixed-width font will do


def _submit(client: Client) -> dict[str, str]:
    jobs: list[dict[str, Any]] = [
        {"prompt": prompt, "width": 256, "height": 256, "steps": 40 + 20 * (number % 4), "priority": 9 - number % 3 * 4}
        for number, prompt in enumerate(_PROMPTS)
    ]
    return dict(zip(client.submit_many(jobs), _PROMPTS, strict=True))


def _bars(client: Client, labels: dict[str, str]) -> RenderableType:
    """The bars, when a few jobs have ended and others are under way."""
    bars = Bars(Console(width=_WIDTH, force_terminal=True, file=io.StringIO()), labels)
    ended = 0
    for event in client.events(labels, 600):
        bars.show(event)
        ended += event.result is not None
        if ended == 3:
            break
    return bars.progress.get_renderable()


def _at_work(client: Client) -> Overview | None:
    """Every worker makes images, and has for a while."""
    seen = client.overview()
    busy = [worker for worker in seen.workers if len(worker.jobs) > 1 and worker.images_per_s]
    return seen if len(busy) == _WORKERS else None


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screens"))
