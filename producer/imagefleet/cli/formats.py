"""Values as text for one line of output."""

import math
from datetime import datetime
from typing import Final

from imagefleet.contract.results import JobResult
from imagefleet.store.webhook_records import WebhookRecord, WebhookState

_LEAST_OF_NEXT: Final = 99


def reason(result: JobResult | None) -> str:
    """Why a job has no images, as the end of a line; empty if it has some."""
    return f": {result.error.message}" if result and result.error else ""


def warnings_of(result: JobResult | None) -> list[str]:
    """What is not as the job asked, a line each; empty if all is."""
    return [f"warning: {warning.message} ({warning.code})" for warning in result.warnings] if result else []


def count_of_warnings(result: JobResult | None) -> str:
    """Their number after the status of a job, such as `, 2 warnings`; empty if there are none."""
    number = len(result.warnings) if result else 0
    return f", {number} warning{'s' if number > 1 else ''}" if number else ""


def fate_of(webhook: WebhookRecord) -> str:
    """What became of a webhook, as a line."""
    tries = f"{webhook.attempts} {'try' if webhook.attempts == 1 else 'tries'}"
    why = f": {webhook.reason}" if webhook.reason else ""
    match webhook.state:
        case WebhookState.QUEUED:
            how = "queued; no sender has tried it yet"
        case WebhookState.POSTPONED:
            how = f"{tries}, the next at {moment(webhook.due_at)}{why}"
        case WebhookState.DELIVERED:
            how = f"delivered at {moment(webhook.at)} ({tries}, the last answered {webhook.status})"
        case WebhookState.FAILED:
            how = f"given up at {moment(webhook.at)} ({tries}){why}; `imagefleet webhooks replay {webhook.id}` sends it"
    return f"webhook {webhook.event}: {how}"


def about(seconds: float) -> str:
    """An estimated duration in one unit and at most two digits: `12s`, `3m`, `2h`."""
    if seconds < _LEAST_OF_NEXT:
        return f"{math.ceil(seconds)}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < _LEAST_OF_NEXT else f"{round(minutes / 60)}h"


def moment(at: datetime | None) -> str:
    """A date and time in the time zone of this machine, such as `2026-01-31 09:05:00`; empty for None."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def shorten(text: str, width: int) -> str:
    """*text* on one line of at most *width* characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
