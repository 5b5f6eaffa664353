"""`imagefleet dead`: lists, replays and deletes dead letters."""

import json
from base64 import b64decode
from typing import Annotated, Any

import typer

from imagefleet.cli.context import connected, err, out, print_json
from imagefleet.cli.exit_codes import ExitCode
from imagefleet.cli.formats import moment
from imagefleet.cli.record_table import print_rows
from imagefleet.client.connection import Connection
from imagefleet.client.operations import single
from imagefleet.errors import InvalidJob, complain
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys

app = typer.Typer(
    help="List, replay or delete dead letters: messages that no worker could finish.",
    epilog="Example: imagefleet dead list",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each dead letter.")]
LetterIds = Annotated[list[str], typer.Argument(help="Ids of dead letters.", show_default=False)]


@app.command("list", epilog="Example: imagefleet dead list --limit 20")
def list_letters(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(help="Most dead letters to list.", min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    with connected(context) as (connection, keys):
        letters = [
            DeadLetter.model_validate_json(text)
            for text in connection.run(single(dead_letters.newest(keys, limit)))
            if text
        ]
    if as_json:
        for letter in letters:
            print_json(letter.model_dump_json())
        return
    if not letters:
        err().print("no dead letters: every message could be finished, or waits")
        return
    rows = (
        (each.id, each.job_id or "", each.reason, str(each.attempts), moment(each.at), each.message) for each in letters
    )
    print_rows(out(), ("id", "job", "reason", "attempts", "at", "message"), rows)


@app.command(epilog="Example: imagefleet dead show 3f2b8c0d9e1a4b5c")
def show(context: typer.Context, letter_id: Annotated[str, typer.Argument(help="Id of the dead letter.")]) -> None:
    """Print one dead letter as JSON, with the original message, decoded as far as it can be."""
    with connected(context) as (connection, keys):
        letter = _read(connection, keys, letter_id)
    shown = {**letter.model_dump(mode="json"), "original": decoded(letter.original)}
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))


@app.command(epilog="Example: imagefleet dead replay 3f2b8c0d9e1a4b5c")
def replay(context: typer.Context, ids: LetterIds) -> None:
    """Put the messages of dead letters back into their queues, as if they were new."""
    with connected(context) as (connection, keys):
        for letter_id in ids:
            letter = _read(connection, keys, letter_id)
            if not connection.run(single(dead_letters.replay(keys, letter))):
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
        raise InvalidJob("dead purge: give ids of dead letters, or --all")
    with connected(context) as (connection, keys):
        typer.echo(f"{connection.run(single(dead_letters.purge(keys, *(ids or ()))))} deleted")


def decoded(message: str) -> Any:
    """A message of Celery with its body as people read it; one that is none stays a text."""
    try:
        fields = json.loads(message)
        body, encoding = fields["body"], fields["properties"].get("body_encoding")
        return {**fields, "body": json.loads(b64decode(body) if encoding == "base64" else body)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return message


def _read(connection: Connection, keys: Keys, letter_id: str) -> DeadLetter:
    text = connection.run(single(dead_letters.read(keys, letter_id)))
    if text is None:
        raise _missing(letter_id)
    return DeadLetter.model_validate_json(text)


def _missing(letter_id: str) -> typer.Exit:
    complain(f"no dead letter {letter_id}: replayed, deleted or expired")
    return typer.Exit(ExitCode.NOT_FOUND)
