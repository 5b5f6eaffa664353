"""The command `imagefleet`: its options, its commands, and how errors become exit codes."""

import importlib
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from imagefleet.cli import dead, fleet, jobs, schema, submit, watch, webhooks
from imagefleet.cli.exits import HELP, Exit, exit_for
from imagefleet.cli.session import Overrides, err
from imagefleet.errors import ImageFleetError

app = typer.Typer(
    name="imagefleet",
    help=f"Push prompts onto Redis; a fleet of GPU workers makes the images.\n\n{HELP}",
    epilog='Example: imagefleet submit "a dog" "a cat" --steps 20 --size 512x512 --out pictures',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
submit.add_to(app)
jobs.add_to(app)
watch.add_to(app)
fleet.add_to(app)
schema.add_to(app)
app.add_typer(dead.app, name="dead")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """Run the command line and exit with the code that says how it went."""
    try:
        app()
    except ImageFleetError as error:
        err().print(f"imagefleet: {error.message}", markup=False, soft_wrap=True)
        sys.exit(exit_for(error))


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature that typer calls
    if wanted:
        typer.echo(version("imagefleet"))
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    redis_url: Annotated[
        str | None,
        typer.Option(help="The queue: a redis://, rediss://, unix:// or sentinel:// URL, or IMAGEFLEET_REDIS_URL."),
    ] = None,
    key_prefix: Annotated[str | None, typer.Option(help="Prefix of all keys, or IMAGEFLEET_REDIS_KEY_PREFIX.")] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Overrides(redis_url, key_prefix)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: imagefleet up --workers 2",
)
def up(context: typer.Context) -> None:
    """Run the whole fleet on this machine: Redis, S3 and workers (needs the extras worker and local)."""
    try:
        local = importlib.import_module("imagefleet_worker.local")  # a string: this half knows no worker
    except ImportError as error:
        err().print(
            f"imagefleet up needs more than the producer ({error}): pip install 'imagefleet[worker,local]'",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(Exit.USAGE) from error
    local.main(context.args)
