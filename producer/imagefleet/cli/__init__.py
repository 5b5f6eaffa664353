"""The command line: `imagefleet submit`, `status`, `result`, `cancel`, `dead`, `schema` and `up`."""

from imagefleet.cli.app import main

__all__ = ["main"]
