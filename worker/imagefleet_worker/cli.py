"""The command line of a worker: `imagefleet-worker`. Probes run it every few seconds: it loads only what is needed."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["health"] and "--help" not in sys.argv:
        from imagefleet_worker import health  # noqa: PLC0415  # without typer and pydantic, a tenth of the time

        sys.exit(health.main(sys.argv[2:]))
    if sys.argv[1:2] and sys.argv[1].partition("=")[0] == "--devices":
        from imagefleet_worker import devices  # noqa: PLC0415  # as above

        sys.exit(devices.main(sys.argv[1:]))
    from imagefleet_worker.commands import app  # noqa: PLC0415  # as above

    app()
