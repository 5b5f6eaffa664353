"""The report: all findings, what they were made with, and how the command ends."""

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imagefleet_worker.doctor.outcome import CheckStatus, Finding

_LIBRARIES: Final = ("imagefleet", "torch", "diffusers", "transformers", "celery", "redis", "boto3")
_COLORS: Final = {
    CheckStatus.OK: "green",
    CheckStatus.WARNING: "yellow",
    CheckStatus.FAILED: "bold red",
    CheckStatus.SKIPPED: "dim",
}
NAME: Final = "report.json"


def as_json(findings: Sequence[Finding]) -> str:
    """One JSON object: `healthy`, `checks`, and the versions of what made them."""
    versions: dict[str, JsonValue] = {name: _version(name) for name in _LIBRARIES}
    report: dict[str, JsonValue] = {
        "healthy": is_healthy(findings),
        "checks": [finding.as_mapping() for finding in findings],
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }
    return json.dumps(report, indent=2)


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.outcome.status is not CheckStatus.FAILED for finding in findings)


def as_table(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings, and how many there are of each kind."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what it means, and what to do", overflow="fold")
    for finding in findings:
        status = finding.outcome.status
        table.add_row(finding.check, f"[{_COLORS[status]}]{status}[/]", escape(finding.outcome.sentence))
    console.print(table)
    counts = {status: sum(f.outcome.status is status for f in findings) for status in CheckStatus}
    console.print(", ".join(f"{count} {status}" for status, count in counts.items() if count))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
