"""The command `imagefleet`: its options and sub-commands, and the exit codes of errors."""

import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Final

import typer

from imagefleet.cli import dead_letters, fleet, jobs, links, schema, submit, watch, webhooks
from imagefleet.cli.context import GlobalOptions
from imagefleet.cli.exit_codes import HELP, ExitCode, exit_code_for
from imagefleet.errors import ImageFleetError, complain

#: The entry points for commands of other packages; pyproject.toml has that of `up`.
COMMANDS: Final = "imagefleet.commands"

app = typer.Typer(
    name="imagefleet",
    help=f"Submit prompts to a fleet of GPU workers that make images, and watch the fleet.\n\n{HELP}",
    epilog='Example: imagefleet submit "a dog" "a cat" --steps 20 --size 512x512 --out pictures',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
submit.add_to(app)
jobs.add_to(app)
links.add_to(app)
watch.add_to(app)
fleet.add_to(app)
schema.add_to(app)
app.add_typer(dead_letters.app, name="dead")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """Run the command line; an error of this package becomes a sentence and an exit code."""
    try:
        app()
    except ImageFleetError as error:
        complain(error.message)
        sys.exit(exit_code_for(error))


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
        typer.Option(help="URL of Redis: redis://, rediss://, unix:// or sentinel://. Default: IMAGEFLEET_REDIS_URL."),
    ] = None,
    key_prefix: Annotated[
        str | None, typer.Option(help="Prefix of all keys in Redis. Default: IMAGEFLEET_REDIS_KEY_PREFIX.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = GlobalOptions(redis_url, key_prefix)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: imagefleet up --workers 2",
)
def up(context: typer.Context) -> None:
    """Run a whole fleet on this machine: Redis, S3 and workers (needs the extras `worker` and `local`)."""
    [command] = entry_points(group=COMMANDS, name="up")
    try:
        run = command.load()
    except ImportError as error:
        complain(
            f"imagefleet up needs a package that is not installed ({error}): pip install 'imagefleet[worker,local]'"
        )
        raise typer.Exit(ExitCode.USAGE) from error
    run(context.args)
