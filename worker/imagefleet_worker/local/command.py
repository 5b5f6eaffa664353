"""`imagefleet up`: runs a whole fleet on this machine until Ctrl-C."""

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import typer
from rich.console import Console

from imagefleet.errors import SettingsInvalid, complain
from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.local import default_model, models, options
from imagefleet_worker.local.commits import Commits
from imagefleet_worker.local.data_folder import data_folder
from imagefleet_worker.local.fleet import LocalFleet
from imagefleet_worker.local.models import LocalModel
from imagefleet_worker.local.ports import usual_port
from imagefleet_worker.observability import logs
from imagefleet_worker.settings import WorkerSettings
from imagefleet_worker.settings.model_folder import why_no_pipeline
from imagefleet_worker.supervision.child_process import is_taken
from imagefleet_worker.supervision.requirements import LOCAL, WORKER, missing

#: Where clients look for Redis if they are told nothing, and a common port of S3 servers on one machine.
REDIS_PORT: Final = 6379
S3_PORT: Final = 9000
#: What the supervisor logs at lower levels, this command says itself.
_LOG_LEVEL: Final = "ERROR"
_USAGE: Final = 2
_TRUE: Final = ("1", "true", "yes", "on", "t", "y")
_console = Console(stderr=True, highlight=False)


def up(
    *,
    model: options.Models = None,
    revision: options.Revision = None,
    workers: options.Workers = None,
    redis_port: options.RedisPort = None,
    s3_port: options.S3Port = None,
    data: options.Data = Path("imagefleet-data"),
) -> None:
    """Run a fleet on this machine until Ctrl-C: Redis, S3, a worker for each device and a webhook sender.

    Jobs, images and the secret of webhooks are kept in the folder --data, for the next start.

    Without --model it serves a tiny model that comes with this package and draws simple scenes.

    Example: imagefleet up --model ./my-model --workers 2
    """
    if packages := missing([*WORKER, *LOCAL]):
        _fail(f"imagefleet up needs {', '.join(packages)}: pip install 'imagefleet[worker,local]'", _USAGE)
    with ExitStack() as stack:
        try:
            stack.enter_context(data_folder(data))
            _check_ports({"--redis-port": redis_port, "--s3-port": s3_port})
            served = _models(model or [], revision, data)
            fleet = LocalFleet(
                data,
                models=served,
                workers=workers,
                redis_port=redis_port or usual_port(REDIS_PORT),
                s3_port=s3_port or usual_port(S3_PORT),
            )
        except SettingsInvalid as error:
            _fail(error.message, ExitCode.SETTINGS_INVALID)
        _run(fleet, served, data)


def _run(fleet: LocalFleet, served: Sequence[LocalModel], data: Path) -> None:
    logs.configure(WorkerSettings().model_copy(update={"log_level": _LOG_LEVEL}))
    _stop_at_signals(fleet)
    _introduce(fleet, served, data)
    try:
        with fleet:
            if not fleet.is_stopping:
                _show_connection(fleet, served[0])
            for end in fleet.watch():
                _console.print(f"{end.name} ended with {end.exit_code}: {end.reason}", markup=False)
            most = f"up to {WorkerSettings().drain_s:g} s"
            _console.print(f"Stopping: running jobs have {most} to end; Ctrl-C again hands them back to the queue")
    except LocalUnavailable as error:
        _fail(error.message, 1)


def _models(texts: Sequence[str], revision: str | None, data: Path) -> list[LocalModel]:
    given = list(texts) or [text for text in [os.environ.get("IMAGEFLEET_MODEL_SOURCE", "")] if text]
    commits = Commits(data / "commits.json", offline=os.environ.get("IMAGEFLEET_MODEL_OFFLINE", "").lower() in _TRUE)
    served = models.parse_models(given, revision=revision, commits=commits) if given else [models.default(os.environ)]
    if revision and not any(each.revision for each in served):
        raise SettingsInvalid("--revision is for a repository; leave it out for a folder or the built-in model")
    _check_folders(served)
    return served


def _check_ports(ports: Mapping[str, int | None]) -> None:
    """Raise SettingsInvalid for a port that is taken."""
    for option, port in ports.items():
        if port and is_taken(port):
            raise SettingsInvalid(
                f"{option} {port}: another program listens there; choose another port, or leave {option} out"
            )


def _check_folders(served: Sequence[LocalModel]) -> None:
    """Raise SettingsInvalid for a folder without a pipeline, which a worker would only find out after half a minute."""
    for each in served:
        if Path(each.source).is_dir() and (why := why_no_pipeline(Path(each.source))):
            raise SettingsInvalid(f"--model: {why}")


def main(args: list[str] | None = None) -> None:
    """Run `up` with *args*, or with those of the process."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(up)
    app(args, prog_name="imagefleet up")


def _fail(sentence: str, exit_code: int) -> NoReturn:
    complain(sentence)
    raise typer.Exit(exit_code)


def _stop_at_signals(fleet: LocalFleet) -> None:
    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        fleet.ask_to_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask_to_stop)


def _introduce(fleet: LocalFleet, served: Sequence[LocalModel], data: Path) -> None:
    for each in served:
        if each.revision:
            _console.print(f"{each.source} at commit {each.revision}", markup=False, soft_wrap=True)
    for name, usual, port in (("Redis", REDIS_PORT, fleet.redis.port), ("S3", S3_PORT, fleet.s3.port)):
        if port != usual:
            old = "; `imagefleet url ID` makes links of earlier results anew" if name == "S3" else ""
            _console.print(f"{name} is on port {port}, not on {usual} where clients and people look first{old}")
    _console.print(f"Starting {', '.join(fleet.names)}; their logs are in {data}/logs", markup=False, soft_wrap=True)


def _show_connection(fleet: LocalFleet, model: LocalModel) -> None:
    _console.print("Ready. In another terminal:\n")
    for name, value in fleet.connection().items():
        print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201  # for a shell to read
    is_default = model.source == str(default_model.FOLDER)
    prompt = default_model.EXAMPLE if is_default else "a lighthouse at dusk"
    alias = f" --model {model.alias}" if model.alias else ""
    _console.print(f"\nimagefleet submit {shlex.quote(prompt)}{alias} --out pictures\n", markup=False, soft_wrap=True)
