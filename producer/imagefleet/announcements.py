"""The announcement of a job's end: what listeners on its channel hear, and the webhook that leaves with it."""

from typing import NamedTuple

from imagefleet import messages
from imagefleet.jobs import Webhook
from imagefleet.queues import DELIVER_TASK, WEBHOOK_QUEUE, Keys
from imagefleet.records import Outgoing
from imagefleet.results import JobResult
from imagefleet.webhooks import Delivery, Event

#: Deliveries wait in the list that plain Celery messages wait in.
_DELIVERY_PRIORITY = 5


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
    wanted = webhook is not None and event.type in webhook.events
    return Announcement(heard, [_delivery(event, url=webhook.url, keys=keys)] if webhook and wanted else [])


def _delivery(event: Event, *, url: str, keys: Keys) -> Outgoing:
    delivery = Delivery(url=url, event_id=event.id, body=event.model_dump_json())
    message = messages.encode(
        DELIVER_TASK, {"delivery": delivery.model_dump(mode="json")}, message_id=event.id, queue=WEBHOOK_QUEUE
    )
    return Outgoing(keys.list_for(WEBHOOK_QUEUE, _DELIVERY_PRIORITY), message)
