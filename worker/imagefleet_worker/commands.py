"""The commands of `imagefleet-worker`; `cli` loads them only when one of them is called."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from imagefleet_worker import health
from imagefleet_worker.connections import without_passwords
from imagefleet_worker.errors import ExitCode, SettingsInvalid
from imagefleet_worker.settings import Settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=True)


@app.callback()
def _group(
    *,
    devices: Annotated[  # `cli` has heeded it before this module is loaded; here for --help
        str | None, typer.Option(help="Run a worker for each: all, 0,1 or cpu:4; after --, options of celery worker.")
    ] = None,
) -> None:
    """The command line of a worker."""


class _Row(NamedTuple):
    variable: str
    default: str
    meaning: str


@app.command(name="settings")
def show_settings(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table of the defaults.")] = False,
) -> None:
    """Show every variable, its default and what is in force here.

    Example: IMAGEFLEET_ENGINE_MODE=off imagefleet-worker settings
    """
    if markdown:
        sys.stdout.write(settings_as_markdown())
        return
    try:
        values = Settings.load()
    except SettingsInvalid as error:
        sys.stderr.write(f"imagefleet: {error.message}\n")
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
    probe: Annotated[str, typer.Argument(help="live: would a restart help? ready: takes jobs? startup: loaded?")],
) -> None:
    """Say how the worker does that writes its heartbeat to IMAGEFLEET_HEALTH_FOLDER; 0 is good, 1 is not.

    Example: imagefleet-worker health ready
    """
    raise typer.Exit(health.main([probe]))


@app.command(name="doctor")
def examine(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Only this check; may be repeated.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Not this check; may be repeated.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Measure up to so many rows; else the worker's own.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the measured jobs; else the model's default.")] = None,
    size: Annotated[str | None, typer.Option(help="Of the measured images, as 512x512; else the default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write report.json and throughput.png into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Check the model, the device, Redis and the bucket that this environment names; 0 is good, 1 is not.

    Takes no jobs, and uses the device: run it where no worker does.

    Example: imagefleet-worker doctor --size 512x512 --out checkup
    """
    try:
        from imagefleet_worker.doctor import visit  # noqa: PLC0415  # the other commands need none of it
    except ImportError as error:
        sys.stderr.write(f"imagefleet: the doctor needs a worker's packages ({error}): install imagefleet[worker]\n")
        raise typer.Exit(1) from error
    try:
        values = Settings.load()
        wish = visit.Wish(only=only, skip=skip, rows=rows, steps=steps, size=size, out=out)
        raise typer.Exit(visit.run(values, wish, as_json=as_json))
    except SettingsInvalid as error:
        sys.stderr.write(f"imagefleet: {error.message}\n")
        raise typer.Exit(ExitCode.SETTINGS_INVALID) from error
    except visit.WishImpossible as error:
        raise typer.BadParameter(str(error)) from error


def settings_as_markdown() -> str:
    """The settings table of the README."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for group in Settings.groups().values():
        lines += [
            f"| `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
            for row in _rows(group)
        ]
    return "\n".join(lines) + "\n"


def _rows(group: type[BaseSettings]) -> Iterator[_Row]:
    prefix = str(group.model_config.get("env_prefix", ""))
    for name, field in group.model_fields.items():
        yield _Row(f"{prefix}{name.upper()}", _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    return _text(field.get_default(call_default_factory=False))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join("***" if isinstance(part, SecretStr) else str(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return without_passwords(str(value))
