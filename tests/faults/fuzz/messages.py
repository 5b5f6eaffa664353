"""The good messages that the fuzz begins with: each way in which a job comes to a worker."""

import json
from typing import Any, Final

from celery import Celery, signature

from imagefleet.contract import messages
from imagefleet.contract.queues import DELIVER_TASK, GENERATE_TASK

QUEUE: Final = "imagefleet.default"
JOB: Final[dict[str, Any]] = {"prompt": "a fox", "width": 64, "height": 64, "steps": 1, "metadata": {"order": 7}}
_LINK: Final = {"task": "stranger.link", "args": [], "kwargs": {}, "options": {"queue": "stranger"}}


def encode(kind: int, message_id: str) -> str:
    """A good message of one of the kinds."""
    return _KINDS[kind % len(_KINDS)](message_id)


def _of_the_client(message_id: str) -> str:
    return messages.encode(GENERATE_TASK, {"job": JOB}, message_id=message_id, queue=QUEUE, tenant="acme")


def _by_hand(message_id: str) -> str:
    return json.dumps(
        {
            "body": json.dumps([[], {"job": JOB}, {}]),
            "headers": {"task": GENERATE_TASK, "id": message_id},
            "properties": {},
        }
    )


def _of_celery(message_id: str) -> str:
    """With links, a chain, a group, and limits."""
    with Celery("stranger", set_as_current=False) as app:
        link = signature(_LINK, app=app)
        sent = app.amqp.as_task_v2(
            message_id,
            GENERATE_TASK,
            kwargs={"job": JOB},
            expires=3600,
            group_id="a group",
            time_limit=100,
            soft_time_limit=90,
            callbacks=[link],
            errbacks=[link],
            chain=[link],
            stamped_headers=["stamp"],
            stamp=["a"],
        )
    properties = {**sent.properties, "priority": 0, "delivery_mode": 2}
    return _envelope(sent.body, dict(sent.headers), properties)


def _of_protocol_1(message_id: str) -> str:
    with Celery("stranger", set_as_current=False) as app:
        sent = app.amqp.as_task_v1(message_id, GENERATE_TASK, kwargs={"job": JOB}, expires=3600, time_limit=100)
    return _envelope(sent.body, dict(sent.headers), sent.properties)


def _delivery(message_id: str) -> str:
    return messages.encode(DELIVER_TASK, {"delivery": {"url": 7}}, message_id=message_id, queue=QUEUE)


def _envelope(body: Any, headers: Any, properties: Any) -> str:
    return json.dumps(
        {
            "body": json.dumps(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": properties,
        }
    )


_KINDS: Final = (_of_the_client, _by_hand, _of_celery, _of_protocol_1, _delivery)
