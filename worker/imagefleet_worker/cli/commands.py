"""The sub-commands `settings`, `health` and `doctor`, with their help; `cli` loads them when one of them is called."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from imagefleet.errors import SettingsInvalid, complain
from imagefleet.store.redis_url import mask_passwords
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.health import probes
from imagefleet_worker.settings import Settings

_HELP: Final = """Run and check imagefleet workers.

`imagefleet-worker --devices all` runs a worker for each CUDA device of this machine, and restarts those that end. Also
`--devices 0,1` and `--devices cpu:4`; after `--`, options of `celery worker`.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=True, rich_markup_mode="markdown")


class SettingRow(NamedTuple):
    """One row of the table of settings."""

    variable: str
    default: str
    meaning: str


@app.command(name="settings")
def show_settings(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table of the defaults.")] = False,
) -> None:
    """Show every setting: its variable, its value in this environment, and its meaning.

    Example: IMAGEFLEET_ENGINE_MODE=off imagefleet-worker settings
    """
    if markdown:
        sys.stdout.write(settings_as_markdown())
        return
    try:
        values = Settings.load()
    except SettingsInvalid as error:
        complain(error.message)
        raise typer.Exit(ExitCode.SETTINGS_INVALID) from error
    table = Table(title="imagefleet settings; bold: not the default", box=None, padding=(0, 1))
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for name, group in Settings.groups().items():
        for field, row in zip(group.model_fields, _rows(group), strict=True):
            value = getattr(getattr(values, name), field)
            text = _text(value)
            changed = value != group.model_fields[field].get_default(call_default_factory=False)
            table.add_row(row.variable, f"[bold]{text}[/]" if changed else text, row.meaning)
    Console().print(table)


@app.command(name="health")
def show_health(
    probe: Annotated[
        str, typer.Argument(help="live: no restart is needed; ready: takes jobs; startup: the model is loaded.")
    ],
) -> None:
    """Check a worker by its heartbeat in IMAGEFLEET_HEALTH_FOLDER. Exit code 0: healthy; 1: not; 2: cannot be checked.

    Example: imagefleet-worker health ready
    """
    raise typer.Exit(probes.main([probe]))


@app.command(name="doctor")
def run_checks(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Run only this check, or several: a,b.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Skip this check, or several: a,b.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Largest number of rows to measure. Default: the worker's setting.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps of the measured jobs. Default: the model's.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of the measured images, such as 512x512. Default: the model's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and throughput.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Check the model, the device, Redis and the bucket of this environment. Exit code 0: all good; 1: a check failed.

    Takes no jobs. It uses the device, so run it where no worker does.

    Example: imagefleet-worker doctor --size 512x512 --out checkup
    """
    from imagefleet_worker.doctor import command  # noqa: PLC0415  # the other commands need none of it

    try:
        values = Settings.load()
        only, skip = _names(only), _names(skip)
        options = command.DoctorOptions(only=only, skip=skip, rows=rows, steps=steps, size=size, out=out)
        raise typer.Exit(command.run(values, options, as_json=as_json))
    except SettingsInvalid as error:
        complain(error.message)
        raise typer.Exit(ExitCode.SETTINGS_INVALID) from error
    except command.InvalidOptions as error:
        raise typer.BadParameter(str(error)) from error


def settings_as_markdown() -> str:
    """The table of all settings, for the documentation."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for group in Settings.groups().values():
        lines += [
            f"| `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
            for row in _rows(group)
        ]
    return "\n".join(lines) + "\n"


def _rows(group: type[BaseSettings]) -> Iterator[SettingRow]:
    prefix = str(group.model_config.get("env_prefix", ""))
    for name, field in group.model_fields.items():
        yield SettingRow(f"{prefix}{name.upper()}", _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    return _text(field.get_default(call_default_factory=False))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join("***" if isinstance(part, SecretStr) else str(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return mask_passwords(str(value))


def _names(given: list[str] | None) -> list[str] | None:
    """The names in *given*, of which one may hold several with commas between."""
    return None if given is None else [name.strip() for text in given for name in text.split(",")]
