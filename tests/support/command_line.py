"""A command run in this process: its own `main`, without the half second of CPU that a new process takes."""

import sys
from collections.abc import Callable, Mapping
from subprocess import CompletedProcess

from typer.testing import CliRunner

from imagefleet.cli import main as imagefleet


def run(
    *args: str, stdin: str = "", env: Mapping[str, str] | None = None, main: Callable[[], None] = imagefleet
) -> CompletedProcess[str]:
    """What *main* prints with these arguments, and the code that it ends with; neither stream is a terminal."""
    argv, hook = sys.argv, sys.excepthook
    sys.argv = ["command", *args]
    try:
        with CliRunner().isolation(input=stdin, env=env) as (out, err, _):
            code = _exit_code(main)
            sys.stdout.flush()
            sys.stderr.flush()
            return CompletedProcess(args, code, out.getvalue().decode(), err.getvalue().decode())
    finally:
        sys.argv, sys.excepthook = argv, hook  # typer sets a hook of its own


def _exit_code(main: Callable[[], None]) -> int:
    """Run it; an error that *main* does not handle is raised here, so that the test shows it."""
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0
