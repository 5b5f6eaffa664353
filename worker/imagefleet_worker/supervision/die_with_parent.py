"""Ends a process when the process that started it has ended, for whatever reason.

    python -I die_with_parent.py PARENT SIGNAL COMMAND ...

becomes COMMAND. On Linux, COMMAND gets SIGNAL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).
This is a program of its own because code between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # of linux/prctl.h


def main() -> None:
    """Ask for the signal, then become the command."""
    parent, number, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(number), 0, 0, 0)
        if os.getppid() != int(parent):  # the parent ended before this call
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # the command is a list that the parent built; no shell


if __name__ == "__main__":
    main()
