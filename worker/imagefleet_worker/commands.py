"""The commands of `imagefleet-worker`; `cli` loads them only when one of them is called."""

import sys
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from imagefleet_worker import health
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
    return str(value)
