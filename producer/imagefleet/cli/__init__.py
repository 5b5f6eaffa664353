"""The command line: `imagefleet submit`, `status`, `result`, `watch`, `cancel`, `top`, `dead`, `up` and the rest."""

from imagefleet.cli.app import main

__all__ = ["main"]
