"""The command line of a worker, `imagefleet-worker`.

- `commands`: `settings`, `health` and `doctor`

Each sub-command loads only what it needs: probes run `health` every few seconds beside a busy device. May import
`doctor`, `supervision`, `health` and what lies below them.
"""

import sys


def main() -> None:
    """Run the sub-command that the first argument names."""
    arguments = sys.argv[1:]
    name = arguments[0].partition("=")[0] if arguments else ""
    run = {"health": _health, "--devices": _devices}.get(name, _others)
    try:
        sys.exit(run(arguments))
    except ModuleNotFoundError as error:
        from imagefleet_worker.supervision.requirements import end_for_missing  # noqa: PLC0415  # as below

        end_for_missing(error, "imagefleet-worker")


def _health(arguments: list[str]) -> int:
    from imagefleet_worker.health import probes  # noqa: PLC0415  # without typer and pydantic, a tenth of the time

    return probes.main(arguments[1:])


def _devices(arguments: list[str]) -> int:
    from imagefleet_worker.supervision import command  # noqa: PLC0415  # as above: each loads only its own

    return command.main(arguments)


def _others(arguments: list[str]) -> None:
    from imagefleet_worker.cli.commands import app  # noqa: PLC0415  # as above

    app(arguments, prog_name="imagefleet-worker")
