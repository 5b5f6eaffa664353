"""Types many lines of `celery` in one process, because its imports take longer than all of them.

    python -m tests.support.typed_commands < LINES

LINES is a JSON array of [arguments, what is to be seen]. A line that runs for ever is interrupted as soon as that is
seen. What each has shown is printed as a JSON array.
"""

import contextlib
import io
import json
import sys
from collections.abc import Sequence

from celery.bin.celery import celery


class _Screen(io.StringIO):
    """What a line shows, on both of its outputs."""

    def __init__(self, expected: str) -> None:
        super().__init__()
        self._expected = expected
        self._is_seen = False

    def write(self, text: str) -> int:
        """Show *text*, and interrupt the line if it has shown enough."""
        count = super().write(text)
        if not self._is_seen and self._expected in self.getvalue():
            self._is_seen = True  # a logger that a line has made may write here later
            raise KeyboardInterrupt
        return count


def type_line(arguments: Sequence[str], expected: str) -> str:
    """What *arguments* show, until that has *expected*."""
    screen = _Screen(expected)
    try:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            celery.main(args=[*arguments], prog_name="celery", standalone_mode=False)
    except KeyboardInterrupt:
        pass
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the line ends the process, or fails
        return f"{screen.getvalue()}\n{error!r}"
    return screen.getvalue()


def main() -> None:
    """Type all lines."""
    json.dump([type_line(*line) for line in json.loads(sys.stdin.readline())], sys.stdout)


if __name__ == "__main__":
    main()
