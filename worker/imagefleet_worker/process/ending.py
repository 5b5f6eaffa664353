"""Endings: how a process says why it ends."""

import sys
from typing import NoReturn

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.observability import logs


def end_process(code: ExitCode, sentence: str) -> NoReturn:
    """End this process with *code*; *sentence* says why, on standard error and in the log file if there is one."""
    logs.report(sentence)
    sys.exit(code)
