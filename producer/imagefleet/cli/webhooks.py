"""`imagefleet webhooks`: lists and replays webhooks that are not delivered."""

from typing import Annotated

import typer

from imagefleet.cli.context import connected, err, out, print_json
from imagefleet.cli.exit_codes import ExitCode
from imagefleet.cli.formats import moment
from imagefleet.cli.record_table import print_rows
from imagefleet.client import webhook_outbox
from imagefleet.client.connection import Connection
from imagefleet.client.webhook_outbox import DeliveryState, Undelivered
from imagefleet.errors import InvalidJob, complain
from imagefleet.store.keys import Keys

app = typer.Typer(
    help="List or replay webhooks that are not delivered.",
    epilog="Example: imagefleet webhooks list",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each webhook.")]
EventIds = Annotated[list[str] | None, typer.Argument(help="Ids of events (webhook-id).", show_default=False)]
States = Annotated[list[DeliveryState] | None, typer.Option("--state", help="Only webhooks in this state; repeatable.")]


@app.command("list", epilog="Example: imagefleet webhooks list --state failed --json")
def list_webhooks(
    context: typer.Context,
    *,
    state: States = None,
    limit: Annotated[int, typer.Option(help="Most webhooks to list of each state.", min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """List webhooks that have failed, that wait for their next try, or that wait for a sender."""
    with connected(context) as (connection, keys):
        found = connection.run(webhook_outbox.list_all(keys, states=frozenset(state or DeliveryState), limit=limit))
    if as_json:
        for each in found:
            print_json(each.model_dump_json(exclude={"body"}))
        return
    if not found:
        err().print("no such webhooks: all that were due are delivered" if not state else "no webhooks in this state")
        return
    rows = (
        (
            each.id,
            each.state.value,
            each.event or "",
            each.job_id or "",
            str(each.attempts),
            moment(each.due_at),
            each.url,
        )
        for each in found
    )
    print_rows(out(), ("id", "state", "event", "job", "tries", "next try", "url"), rows)


@app.command(epilog="Example: imagefleet webhooks show evt_0123456789abcdef0123456789abcdef")
def show(context: typer.Context, event_id: Annotated[str, typer.Argument(help="Id of the event.")]) -> None:
    """Print one undelivered webhook as JSON, with its body and the reason of the last failure."""
    with connected(context) as (connection, keys):
        for each in _find(connection, keys, event_id):
            typer.echo(each.model_dump_json(indent=2))


@app.command(epilog="Examples: imagefleet webhooks replay evt_0123456789abcdef; imagefleet webhooks replay --failed")
def replay(
    context: typer.Context,
    ids: EventIds = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Replay every webhook that has failed.")] = False,
) -> None:
    """Send webhooks again now, with the same id; a failed webhook gets all its tries again."""
    if bool(ids) == failed:
        raise InvalidJob("webhooks replay: give ids of events, or --failed")
    with connected(context) as (connection, keys):
        states = frozenset({DeliveryState.FAILED})
        found = connection.run(webhook_outbox.list_all(keys, states=states, limit=10_000)) if failed else []
        for event_id in ids or ():
            found += _find(connection, keys, event_id)
        for each in found:
            if connection.run(webhook_outbox.replay(keys, each)):
                typer.echo(f"{each.id} is queued again")


def _find(connection: Connection, keys: Keys, event_id: str) -> list[Undelivered]:
    found = connection.run(webhook_outbox.find(keys, event_id))
    if not found:
        complain(f"no undelivered webhook {event_id}: it was delivered, or never sent; see imagefleet webhooks list")
        raise typer.Exit(ExitCode.NOT_FOUND)
    return found
