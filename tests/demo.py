"""The demo: prompts in, stored images and signed webhooks out, on one machine and without a network.

    python -m tests.demo [--model FOLDER-OR-REPO --revision COMMIT]

Without a model a tiny Stable Diffusion with random weights is built: its images are noise, everything else is real.
"""

import argparse
import base64
import secrets
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
from imagefleet.cli.jobs import wait_for
from imagefleet.client import Client
from imagefleet.results import JobResult
from imagefleet.webhooks import verify
from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.local_fleet import LocalFleet
from tests.support.receiver import Receiver

OUT: Final = Path("demo-output")
_WORKERS: Final = 2
_WAIT_S: Final = 1800
#: Of a size that the tiny model makes in seconds and a real one still can.
JOBS: Final[Sequence[Mapping[str, Any]]] = (
    {"prompt": "a lighthouse at dusk", "steps": 12, "width": 64, "height": 64, "seed": 1},
    {"prompt": "a red fox in the snow", "steps": 8, "width": 64, "height": 128, "seed": 2, "format": "webp"},
    {"prompt": "a teapot made of glass", "steps": 20, "width": 128, "height": 64, "seed": 3, "format": "jpeg"},
    {"prompt": "a map of an island", "steps": 10, "seed": 4, "num_images": 2},
    {"prompt": "an owl, woodcut", "steps": 15, "width": 96, "height": 96, "seed": 5, "guidance_scale": 3.0},
    {"prompt": "a tram in the rain", "steps": 6, "seed": 6, "format": "webp", "quality": 80, "priority": 9},
    {"prompt": "a bowl of cherries", "steps": 18, "width": 128, "height": 128, "seed": 7, "negative_prompt": "blurry"},
    {"prompt": "the sea from above", "steps": 9, "seed": 8, "format": "jpeg", "quality": 75},
    {"prompt": "a paper boat", "steps": 14, "seed": 9, "scheduler": "EulerDiscreteScheduler"},
)

_console = Console(highlight=False)


def main() -> int:
    """Run the demo; 0 where every job succeeded and was announced."""
    options = _options()
    started = time.monotonic()
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    receiver = Receiver()
    try:
        with tempfile.TemporaryDirectory(prefix="imagefleet-demo-") as folder:
            _console.print(f"[bold]imagefleet[/]: {len(JOBS)} jobs, {_WORKERS} workers, Redis, S3 and a receiver")
            model = options.model or _tiny_model(Path(folder) / "model")
            fleet = LocalFleet(
                Path(folder),
                model=model,
                revision=options.revision,
                workers=_WORKERS,
                env={"IMAGEFLEET_WEBHOOK_SECRETS": secret},
            )
            with _stopped_by_signals(fleet):
                if fleet.is_stopping:
                    return 130
                _console.print(f"ready after {time.monotonic() - started:.1f} s: {', '.join(fleet.names)}")
                ok = _run(fleet, receiver, secret=secret)
    except KeyboardInterrupt:
        return 130
    except LocalUnavailable as error:
        _console.print(error.message, style="red", markup=False)
        return 1
    finally:
        receiver.close()
    _console.print(f"done in {time.monotonic() - started:.1f} s; look at {OUT}/contact-sheet.png")
    return 0 if ok else 1


def _run(fleet: LocalFleet, receiver: Receiver, *, secret: str) -> bool:
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
    events = [verify(request.body, request.headers, secret=secret) for request in receiver.requests]
    announced = {event.data.id: event.type.value for event in events}
    _show(results, announced, prompts=prompts)
    for problem in problems:
        _console.print(problem, style="red", markup=False)
    return not problems and all(announced.get(result.id) == "job.succeeded" for result in results)


def _show(results: Sequence[JobResult], announced: Mapping[str, str], *, prompts: Mapping[str, str]) -> None:
    table = Table("job", "worker", "seconds", "image", "webhook", box=None, padding=(0, 1))
    for result in results:
        times = result.timings
        seconds = times.generate_s + times.encode_s + times.upload_s
        images = "\n".join(f"{each.uri}  {each.width}x{each.height}" for each in result.artifacts)
        failure = f"{result.error.code}: {result.error.message}" if result.error else ""
        worker = (result.worker or "").partition("@")[0]
        row = (prompts[result.id], worker, f"{seconds:.2f}", images or failure, announced.get(result.id, "none"))
        table.add_row(*row)
    Console(width=max(_console.width, 150), highlight=False).print(table)


def _tiny_model(folder: Path) -> str:
    from tests.support import tiny_pipelines  # noqa: PLC0415  # imports torch, which a MODEL of one's own does without

    return str(tiny_pipelines.build("sd", folder))


@contextmanager
def _stopped_by_signals(fleet: LocalFleet) -> Generator[None]:
    """The running *fleet*, which ends in order also where a signal comes while it starts, runs or ends."""
    _on_signals(lambda _number, _frame: fleet.ask_to_stop())
    with fleet:
        try:
            _on_signals(signal.default_int_handler)
            yield
        finally:
            _on_signals(lambda _number, _frame: fleet.ask_to_stop())


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
