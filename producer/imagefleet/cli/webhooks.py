"""`imagefleet webhooks`: those that are not delivered yet, or never were; look at them, and send them again."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Annotated

import typer

from imagefleet import outbox
from imagefleet.cli.exits import Exit
from imagefleet.cli.options import Json
from imagefleet.cli.rows import print_rows
from imagefleet.cli.session import err, out, print_json, settings_for
from imagefleet.connections import Connection
from imagefleet.errors import InvalidJob
from imagefleet.outbox import DeliveryState, Undelivered
from imagefleet.queues import Keys

app = typer.Typer(
    help="Webhooks that are not delivered: look, and send again.",
    epilog="Example: imagefleet webhooks list",
    no_args_is_help=True,
)

EventIds = Annotated[list[str] | None, typer.Argument(help="Ids of events (webhook-id).", show_default=False)]
States = Annotated[list[DeliveryState] | None, typer.Option("--state", help="Only these; repeatable.")]


@app.command("list", epilog="Example: imagefleet webhooks list --state failed --json")
def list_webhooks(
    context: typer.Context,
    *,
    state: States = None,
    limit: Annotated[int, typer.Option(help="At most so many of each state.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """List webhooks that have failed, wait for their next try, or wait for a sender."""
    with _connected(context) as (connection, keys):
        found = connection.run(outbox.list_all(keys, states=frozenset(state or DeliveryState), limit=limit))
    if as_json:
        for each in found:
            print_json(each.model_dump_json(exclude={"body"}))
        return
    rows = (
        (
            each.id,
            each.state.value,
            each.event or "",
            each.job_id or "",
            str(each.attempts),
            f"{each.due_at.astimezone():%Y-%m-%d %H:%M:%S}" if each.due_at else "",
            each.url,
        )
        for each in found
    )
    print_rows(out(), ("id", "state", "event", "job", "tries", "next try", "url"), rows)


@app.command(epilog="Example: imagefleet webhooks show evt_0123456789abcdef0123456789abcdef")
def show(context: typer.Context, event_id: Annotated[str, typer.Argument(help="Id of the event.")]) -> None:
    """Print one undelivered webhook as JSON, with its body and the reason of the last failure."""
    with _connected(context) as (connection, keys):
        for each in _find(connection, keys, event_id):
            typer.echo(each.model_dump_json(indent=2))


@app.command(epilog="Examples: imagefleet webhooks replay evt_0123456789abcdef; imagefleet webhooks replay --failed")
def replay(
    context: typer.Context,
    ids: EventIds = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Every webhook that has failed.")] = False,
) -> None:
    """Send webhooks now, under the same id; those that have failed get all their tries again."""
    if bool(ids) == failed:
        raise InvalidJob("webhooks replay: name events, or say --failed")
    with _connected(context) as (connection, keys):
        states = frozenset({DeliveryState.FAILED})
        found = connection.run(outbox.list_all(keys, states=states, limit=10_000)) if failed else []
        for event_id in ids or ():
            found += _find(connection, keys, event_id)
        for each in found:
            if connection.run(outbox.replay(keys, each)):
                typer.echo(f"{each.id} is queued again")


@contextmanager
def _connected(context: typer.Context) -> Generator[tuple[Connection, Keys], None, None]:
    settings = settings_for(context)
    with closing(Connection(settings)) as connection:
        yield connection, settings.keys


def _find(connection: Connection, keys: Keys, event_id: str) -> list[Undelivered]:
    found = connection.run(outbox.find(keys, event_id))
    if not found:
        err().print(f"imagefleet: no undelivered webhook {event_id}", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.NOT_FOUND)
    return found
