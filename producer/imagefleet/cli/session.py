"""What every command shares: the client it talks through, and the two places it writes to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import typer
from rich.console import Console

from imagefleet.client import Client
from imagefleet.settings import ClientSettings

#: Where nobody looks, lines are for other programs: they are not broken.
_NO_TERMINAL_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the options before the command say; kept as the context's object."""

    redis_url: str | None = None
    key_prefix: str | None = None


def settings_for(context: typer.Context) -> ClientSettings:
    """The settings of the environment, with what the options say instead."""
    settings = ClientSettings.from_env()
    given = context.find_object(Overrides) or Overrides()
    changes = {"url": given.redis_url, "key_prefix": given.key_prefix}
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def client_for(context: typer.Context) -> Client:
    """A client with these settings."""
    return Client.from_settings(settings_for(context))


def out() -> Console:
    """Standard output, for what the command was asked for."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NO_TERMINAL_WIDTH)


def is_watched(console: Console) -> bool:
    """Whether what is printed there can be drawn over again."""
    return console.is_terminal and not console.is_dumb_terminal


def err() -> Console:
    """Standard error, for everything else."""
    return Console(stderr=True, highlight=False)


def print_json(data: Mapping[str, Any] | str) -> None:
    """One line of JSON on standard output."""
    typer.echo(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
