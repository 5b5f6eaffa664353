"""A tether: ends a process when the one that started it is gone, however that ended.

    python -I tether.py PARENT SIGNAL COMMAND ...

becomes COMMAND, which Linux sends SIGNAL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG); elsewhere
it only becomes COMMAND. A program of its own, as code between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # of linux/prctl.h


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, number, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(number), 0, 0, 0)
        if os.getppid() != int(parent):  # it ended before it could be noticed
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # the command is a list that the parent built; no shell


if __name__ == "__main__":
    main()
