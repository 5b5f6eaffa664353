"""docs/events.md: what a caller, a listener and a receiver of webhooks hear of a job."""

import json
from datetime import UTC, datetime

from tests.scripts.reference import fields, markdown
from tests.scripts.reference.attributes import attributes
from tests.scripts.reference.results_page import example, model_table

from imagefleet import JobEvent, JobStatus, JobUpdate, Preview, Progress, StepsDone, Webhook, WebhookEvent
from imagefleet.webhooks import Event

_INTRO = """There are two ways to hear of a job without asking again and again: `Client.events` in a process that
reaches Redis, and a webhook anywhere else.
"""
_CLIENT = """## `Client.events`

Yields a `JobEvent` for the state that the job has now, then one for each change, until the job has ended. A worker
sends at most one event a job in `IMAGEFLEET_WORKER_PROGRESS_INTERVAL_S`. Redis may be away for half a minute
without an error.
"""
_CHANNEL = """## The channel in Redis

For other languages: `SUBSCRIBE imagefleet:events:<id>`, then read the record `imagefleet:job:<id>` once, because
pub/sub has no memory. A message is a JSON object with `type`, `id` and `data`. While the job runs, `type` is
`job.progress`, and `data` has `done`, `total` and, if known, `left_s` and `preview` (`media_type`, `width`, `height`
and `data` in base64). When the job has ended, `type` is `job.<status>` and `data` is the [result](results.md).
[examples](../examples/README.md) has this in Node.js and in Go.
"""
_WEBHOOK = """## Webhooks

A POST with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of [Standard
Webhooks](https://www.standardwebhooks.com), and this body. `imagefleet schema event` prints its JSON Schema.
[webhooks.md](webhooks.md) says how events are delivered, repeated and verified.
"""


def make() -> str:
    """The page."""
    classes = [f"### {owner.__name__}\n\n{owner.__doc__}\n\n{class_table(owner)}" for owner in (Progress, Preview)]
    parts = [
        _INTRO,
        _CLIENT,
        class_table(JobEvent),
        *classes,
        _CHANNEL,
        _WEBHOOK,
        _body(),
        _types(),
        f"### JobUpdate\n\nA job that has not ended.\n\n{model_table(JobUpdate)}",
        _examples(),
    ]
    return markdown.page("Events", "`imagefleet.JobEvent` and `imagefleet.webhooks.Event`", *parts)


def class_table(owner: type) -> str:
    """The attributes of a class that is no pydantic model."""
    lines = [
        (markdown.code(each.name), markdown.code(each.type), markdown.cell(each.meaning)) for each in attributes(owner)
    ]
    return markdown.table(("attribute", "type", "meaning"), lines)


def _body() -> str:
    meanings = {
        "type": "The event, see below.",
        "timestamp": "When it happened.",
        "data": "A [result](results.md) for the four ends of a job; an update before.",
    }
    lines = [(markdown.code(row.name), row.type, meanings[row.name]) for row in fields.rows(Event, "serialization")]
    return markdown.table(("field", "type", "meaning"), lines)


def _types() -> str:
    default = set(Webhook.model_fields["events"].default)
    lines = [
        (
            markdown.code(each.name),
            "yes" if each.name in default else "no",
            _data(each.name),
            markdown.cell(each.meaning),
        )
        for each in attributes(WebhookEvent)
    ]
    return markdown.table(("event", "sent by default", "`data`", "meaning"), lines)


def _data(name: str) -> str:
    return (
        "a result"
        if JobStatus.__members__.get(name.removeprefix("job.").upper(), JobStatus.QUEUED).is_final
        else "an update"
    )


def _examples() -> str:
    update = JobUpdate(
        id="order-4711",
        status=JobStatus.RUNNING,
        progress=StepsDone(done=10, total=28),
        attempts=1,
        worker="gpu0@host",
        model="sdxl",
        at=datetime(2031, 5, 1, 9, 59, 58, tzinfo=UTC),
    )
    shown = [Event.for_update(update), Event.for_result(example())]
    blocks = [f"```json\n{json.dumps(each.model_dump(mode='json'), indent=2)}\n```\n" for each in shown]
    return "\n".join(["### Examples\n", *blocks])
