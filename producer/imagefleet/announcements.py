"""Announcements: what listeners on a job's channel hear, and the webhooks that leave with it."""

from typing import NamedTuple

from imagefleet import messages
from imagefleet.jobs import Webhook
from imagefleet.queues import DELIVER_TASK, WEBHOOK_QUEUE, Keys
from imagefleet.records import Outgoing
from imagefleet.results import JobResult, JobUpdate
from imagefleet.webhooks import Delivery, Event


class Announcement(NamedTuple):
    """What goes out in the same step as the end of a job is recorded."""

    #: JSON for the job's channel: `{"type": "job.<status>", "id": <job id>, "data": <the result>}`.
    event: str
    #: The webhook's delivery, or nothing.
    outgoing: list[Outgoing]


def announce(result: JobResult, *, webhook: Webhook | None, keys: Keys) -> Announcement:
    """The event and the webhook messages that say how a job ended.

    The webhook is left out where the job has none or did not ask for this event. Made twice for the same result, the
    two carry the same event id.
    """
    event = Event.of(result)
    heard = f'{{"type":"{event.type}","id":"{result.id}","data":{result.model_dump_json()}}}'
    if webhook is None or event.type not in webhook.events:
        return Announcement(heard, [])
    return Announcement(heard, [Outgoing(keys.deliveries, _message(event, url=webhook.url))])


def tell(update: JobUpdate, *, webhook: Webhook | None, expires_at: float | None = None) -> str:
    """The message that delivers *update*; empty where the job has no webhook or did not ask for this event.

    What has not been delivered at *expires_at*, in seconds since 1970, is dropped.
    """
    event = Event.of_update(update)
    if webhook is None or event.type not in webhook.events:
        return ""
    return _message(event, url=webhook.url, expires_at=expires_at)


def _message(event: Event, *, url: str, expires_at: float | None = None) -> str:
    delivery = Delivery(url=url, event_id=event.id, body=event.model_dump_json(), expires_at=expires_at)
    kwargs = {"delivery": delivery.model_dump(mode="json")}
    return messages.encode(DELIVER_TASK, kwargs, message_id=event.id, queue=WEBHOOK_QUEUE)
