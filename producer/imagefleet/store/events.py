"""Events: the messages on a job's channel, and the webhooks that are queued with them."""

from typing import NamedTuple

from imagefleet.contract import messages
from imagefleet.contract.jobs import Webhook, WebhookEvent
from imagefleet.contract.queues import DELIVER_TASK, WEBHOOK_QUEUE
from imagefleet.contract.results import JobResult, JobUpdate
from imagefleet.store.keys import Keys
from imagefleet.store.records import Outgoing
from imagefleet.webhooks import Delivery, Event


class EndEvent(NamedTuple):
    """The messages that are sent in the step that records the end of a job."""

    #: JSON for the job's channel: `{"type": "job.<status>", "id": <job id>, "data": <the result>}`.
    event: str
    #: The result as JSON, for the job's record.
    result: str
    #: The webhook's delivery, or nothing.
    outgoing: list[Outgoing]


def end_event(result: JobResult, *, webhook: Webhook | None, keys: Keys) -> EndEvent:
    """The event and the webhook messages that say how a job ended.

    There is no webhook message if the job has no webhook or did not ask for this event. Two calls for one result give
    the same event id.
    """
    kind, text = WebhookEvent(f"job.{result.status}"), result.model_dump_json()
    published = f'{{"type":"{kind}","id":"{result.id}","data":{text}}}'
    if webhook is None or kind not in webhook.events:
        return EndEvent(published, text, [])
    return EndEvent(published, text, [Outgoing(keys.deliveries, _message(Event.for_result(result), url=webhook.url))])


def update_message(update: JobUpdate, *, webhook: Webhook | None, expires_at: float | None = None) -> str:
    """The message that delivers *update*; empty if the job has no webhook or did not ask for this event.

    It is dropped if it has not been delivered at *expires_at*, in seconds since 1970.
    """
    if webhook is None:
        return ""
    event = Event.for_update(update)
    if event.type not in webhook.events:
        return ""
    return _message(event, url=webhook.url, expires_at=expires_at)


def _message(event: Event, *, url: str, expires_at: float | None = None) -> str:
    delivery = Delivery(url=url, event_id=event.id, body=event.model_dump_json(), expires_at=expires_at)
    kwargs = {"delivery": delivery.model_dump(mode="json")}
    return messages.encode(DELIVER_TASK, kwargs, message_id=event.id, queue=WEBHOOK_QUEUE)
