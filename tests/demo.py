"""The demo: prompts in, stored images and signed webhooks out, on one machine and without a network.

    python -m tests.demo [--model FOLDER-OR-REPO --revision COMMIT]

Without --model it serves the tiny model that comes with this package and draws simple scenes (examples/demo-model).
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from imagefleet.cli.contact_sheet import write_contact_sheet
from imagefleet.cli.downloads import Downloads
from imagefleet.cli.formats import shorten
from imagefleet.cli.jobs import wait_for
from imagefleet.client import Client
from imagefleet.contract.results import JobResult
from imagefleet.webhooks import verify
from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.local import models
from imagefleet_worker.local.fleet import LocalFleet
from imagefleet_worker.local.models import LocalModel
from imagefleet_worker.observability import logs
from imagefleet_worker.settings import WorkerSettings
from tests.support.servers.webhook_receiver import Receiver

OUT: Final = Path("demo-output")
_WORKERS: Final = 2
_WAIT_S: Final = 1800
#: Scenes that the default model knows, in sizes that it draws in seconds and a real one still can.
JOBS: Final[Sequence[Mapping[str, Any]]] = (
    {"prompt": "a red lighthouse by the sea at dusk", "steps": 20, "seed": 1},
    {"prompt": "a white house in the snow", "steps": 12, "width": 64, "height": 64, "seed": 2, "format": "webp"},
    {
        "prompt": "a green tree on a meadow",
        "steps": 16,
        "width": 96,
        "height": 64,
        "seed": 3,
        "negative_prompt": "ugly",
    },
    {"prompt": "a yellow boat by the sea", "steps": 10, "seed": 4, "num_images": 2},
    {"prompt": "a purple castle on the grass at sunset", "steps": 15, "width": 96, "height": 96, "seed": 5},
    {
        "prompt": "an orange balloon in the desert",
        "steps": 8,
        "seed": 6,
        "format": "webp",
        "quality": 80,
        "priority": 9,
    },
    {"prompt": "a blue rocket in the desert at night", "steps": 18, "width": 64, "height": 80, "seed": 7},
    {"prompt": "a red mushroom on a meadow", "steps": 16, "seed": 8, "format": "jpeg", "guidance_scale": 5.0},
    {"prompt": "a white boat by the sea at night", "steps": 14, "seed": 9, "scheduler": "EulerDiscreteScheduler"},
)

#: What to try next.
NEXT: Final = """
Next: a fleet of your own. It runs until Ctrl-C and prints what to paste into
another terminal; activate the same environment there.

  source .venv/bin/activate
  imagefleet up
  imagefleet submit "a blue boat at night" --count 4 --out pictures

docs/README.md is the index of all documents."""

_console = Console(highlight=False)


def main() -> int:
    """Run the demo; 0 where every job succeeded and was announced."""
    options = _options()
    logs.configure(WorkerSettings().model_copy(update={"log_level": "ERROR"}))  # the screen is for the demo's own words
    started = time.monotonic()
    receiver = Receiver()
    try:
        with tempfile.TemporaryDirectory(prefix="imagefleet-demo-") as folder:
            _console.print(f"[bold]imagefleet[/]: {len(JOBS)} jobs, {_WORKERS} workers, Redis, S3 and a receiver")
            own = [LocalModel(options.model, options.revision)] if options.model else [models.default(os.environ)]
            fleet = LocalFleet(Path(folder), models=own, workers=_WORKERS)
            with _stopped_by_signals(fleet):
                if fleet.is_stopping:
                    return 130
                _console.print(f"ready after {time.monotonic() - started:.1f} s: {', '.join(fleet.names)}")
                ok = _run(fleet, receiver)
    except KeyboardInterrupt:
        return 130
    except LocalUnavailable as error:
        _console.print(error.message, style="red", markup=False)
        return 1
    finally:
        receiver.close()
    _console.print(f"\ndone in {time.monotonic() - started:.1f} s; look at [bold]{OUT}/contact-sheet.png[/]")
    _console.print(NEXT, markup=False)
    return 0 if ok else 1


def _run(fleet: LocalFleet, receiver: Receiver) -> bool:
    webhook = {"url": receiver.url}
    for old in OUT.glob("*"):
        old.unlink()
    with Client(fleet.redis.url) as client, Downloads(OUT) as downloads:
        ids = client.submit_many([{**job, "presign": True, "webhook": webhook} for job in JOBS])
        prompts = {job_id: str(job["prompt"]) for job_id, job in zip(ids, JOBS, strict=True)}

        def fetch(result: JobResult) -> None:
            downloads.add(result, number=ids.index(result.id) + 1, prompt=prompts[result.id])

        results = wait_for(client, prompts, _WAIT_S, at_end=fetch)
        pictures, problems = downloads.finish()
    write_contact_sheet(pictures, OUT / "contact-sheet.png")
    receiver.wait_for(len(ids), 30)
    secret = fleet.webhook_secrets.partition(",")[0]
    events = [verify(request.body, request.headers, secret=secret) for request in receiver.requests]
    announced = {event.data.id: event.type.value for event in events}
    _console.print("", table_of(results, announced), "", sep="\n")
    for result in results:
        if result.error:
            _console.print(f"{result.id} {result.error.code}: {result.error.message}", style="red", markup=False)
    for problem in problems:
        _console.print(problem, style="red", markup=False)
    ok = not problems and all(announced.get(result.id) == "job.succeeded" for result in results)
    if ok:
        _console.print(f"{len(pictures)} images are in {OUT}; hashes and signatures of webhooks are right")
    return ok


def table_of(results: Sequence[JobResult], announced: Mapping[str, str]) -> Table:
    """A line for each of `JOBS` with its result, no wider than 80 columns; *announced* are the events by job id."""
    table = Table("", "job", "size", "steps", "worker", "seconds", "webhook", box=None, pad_edge=False)
    for number, (job, result) in enumerate(zip(JOBS, results, strict=True), start=1):
        table.add_row(
            f"{number:03}",
            shorten(str(job["prompt"]), 32),
            " ".join({f"{each.width}x{each.height}" for each in result.artifacts}),
            str(job["steps"]),
            (result.worker or "").partition("@")[0],
            f"{result.timings.generate_s:.1f}",
            announced.get(result.id, "none").removeprefix("job."),
        )
    return table


@contextmanager
def _stopped_by_signals(fleet: LocalFleet) -> Generator[None]:
    """The running *fleet*, which ends in order also where a signal comes while it starts, runs or ends."""
    _on_signals(lambda _number, _frame: fleet.ask_to_stop())
    with _console.status("starting them"):
        fleet.start()
    try:
        _on_signals(signal.default_int_handler)
        yield
    finally:
        _on_signals(lambda _number, _frame: fleet.ask_to_stop())
        fleet.stop()


def _on_signals(call: Callable[[int, FrameType | None], Any]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, call)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a folder or a repository id, instead of the tiny one")
    parser.add_argument("--revision", help="the repository's commit")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
