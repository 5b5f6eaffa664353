"""What all commands share: the options before the command, the client, standard output and standard error."""

import json
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import typer
from rich.console import Console

from imagefleet.client import Client
from imagefleet.client.connection import Connection
from imagefleet.client.settings import ClientSettings
from imagefleet.store.keys import Keys

#: Lines that no terminal shows are for other programs, which expect them unbroken.
_NO_TERMINAL_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options before the command; kept as the object of typer's context."""

    redis_url: str | None = None
    key_prefix: str | None = None


def settings_for(context: typer.Context) -> ClientSettings:
    """The settings of the environment, replaced by the options that are given."""
    settings = ClientSettings.from_env()
    given = context.find_object(GlobalOptions) or GlobalOptions()
    changes = {"url": given.redis_url, "key_prefix": given.key_prefix}
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def client_for(context: typer.Context) -> Client:
    """A client with these settings."""
    return Client.from_settings(settings_for(context))


@contextmanager
def connected(context: typer.Context) -> Generator[tuple[Connection, Keys], None, None]:
    """A connection with these settings, and the names of its keys, for operations that no client has."""
    settings = settings_for(context)
    with closing(Connection(settings)) as connection:
        yield connection, settings.keys


def out() -> Console:
    """Standard output, for the result of the command."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NO_TERMINAL_WIDTH)


def is_live_terminal(console: Console) -> bool:
    """Whether *console* is a terminal whose lines can be redrawn."""
    return console.is_terminal and not console.is_dumb_terminal


def err() -> Console:
    """Standard error, for everything else."""
    return Console(stderr=True, highlight=False)


def print_json(data: Mapping[str, Any] | str) -> None:
    """One line of JSON on standard output."""
    typer.echo(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
