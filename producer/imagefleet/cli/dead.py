"""`imagefleet dead`: messages that no worker could finish; look at them, send them again, or delete them."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from imagefleet import deadletters
from imagefleet.cli.exits import Exit
from imagefleet.cli.options import Json
from imagefleet.cli.rows import print_rows
from imagefleet.cli.session import err, out, print_json, settings_for
from imagefleet.connections import Connection
from imagefleet.deadletters import DeadLetter
from imagefleet.errors import InvalidJob
from imagefleet.operations import Operation
from imagefleet.queues import Keys
from imagefleet.records import Command

app = typer.Typer(
    help="Messages that no worker could finish: look, send again, or delete.",
    epilog="Example: imagefleet dead list",
    no_args_is_help=True,
)

LetterIds = Annotated[list[str], typer.Argument(help="Ids of dead letters.", show_default=False)]


@app.command("list", epilog="Example: imagefleet dead list --limit 20")
def list_letters(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    with _connected(context) as (connection, keys):
        letters = [
            DeadLetter.model_validate_json(text)
            for text in connection.run(_ask(deadletters.newest(keys, limit)))
            if text
        ]
    if as_json:
        for letter in letters:
            print_json(letter.model_dump_json())
        return
    rows = (
        (each.id, each.job_id or "", each.reason, str(each.attempts), _clock(each.at), each.message) for each in letters
    )
    print_rows(out(), ("id", "job", "reason", "attempts", "at", "message"), rows)


@app.command(epilog="Example: imagefleet dead show 3f2b8c0d9e1a4b5c")
def show(context: typer.Context, letter_id: Annotated[str, typer.Argument(help="Id of the dead letter.")]) -> None:
    """Print one dead letter as JSON, with the original message."""
    with _connected(context) as (connection, keys):
        typer.echo(_read(connection, keys, letter_id).model_dump_json(indent=2))


@app.command(epilog="Example: imagefleet dead replay 3f2b8c0d9e1a4b5c")
def replay(context: typer.Context, ids: LetterIds) -> None:
    """Put messages back into their queues, as if they were new."""
    with _connected(context) as (connection, keys):
        for letter_id in ids:
            letter = _read(connection, keys, letter_id)
            if not connection.run(_ask(deadletters.replay(keys, letter))):
                raise _missing(letter_id)
            typer.echo(f"{letter_id} is in {letter.list_key!r} again")


@app.command(epilog="Examples: imagefleet dead purge 3f2b8c0d9e1a4b5c; imagefleet dead purge --all")
def purge(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.", show_default=False)] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Delete every dead letter.")] = False,
) -> None:
    """Delete dead letters for good."""
    if bool(ids) == everything:
        raise InvalidJob("dead purge: name dead letters, or say --all")
    with _connected(context) as (connection, keys):
        typer.echo(f"{connection.run(_ask(deadletters.purge(keys, *(ids or ()))))} deleted")


@contextmanager
def _connected(context: typer.Context) -> Generator[tuple[Connection, Keys], None, None]:
    settings = settings_for(context)
    with closing(Connection(settings)) as connection:
        yield connection, settings.keys


def _ask(command: Command) -> Operation[Any]:
    [reply] = yield [command]
    return reply


def _read(connection: Connection, keys: Keys, letter_id: str) -> DeadLetter:
    text = connection.run(_ask(deadletters.read(keys, letter_id)))
    if text is None:
        raise _missing(letter_id)
    return DeadLetter.model_validate_json(text)


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _missing(letter_id: str) -> typer.Exit:
    err().print(f"imagefleet: no dead letter {letter_id}: replayed, deleted or expired", markup=False, soft_wrap=True)
    return typer.Exit(Exit.NOT_FOUND)
