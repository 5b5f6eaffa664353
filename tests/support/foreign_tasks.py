"""Tasks that somebody added to a worker: `celery worker -I tests.support.foreign_tasks`.

Each notes its runs in a list of Redis, `foreign:<name>`.
"""

import json
from typing import Any

import redis
from celery import Task
from celery.exceptions import Reject

from imagefleet_worker.app import app
from imagefleet_worker.settings import settings


def _note(name: str, what: Any) -> int:
    with redis.Redis.from_url(settings().redis.url) as client:
        return int(client.rpush(f"foreign:{name}", json.dumps(what)))  # type: ignore[arg-type]  # not asynchronous


@app.task(name="foreign.reject", bind=True, ignore_result=True)
def reject(self: "Task[Any, Any]", *, requeue: bool) -> None:
    """Reject the message, unless it was delivered before."""
    _note("reject", requeue)
    if not self.request.delivery_info["redelivered"]:  # type: ignore[index]  # a mapping in a worker
        raise Reject("not now", requeue=requeue)


@app.task(name="foreign.get", ignore_result=True)
def get(queue: str, end: str) -> None:
    """Get one message of *queue*, and end it by the method *end* of kombu's message, or not at all."""
    with app.connection_for_read() as connection:
        message: Any = connection.default_channel.basic_get(queue)
        if message is not None and end:
            getattr(message, end)()
        _note("get", message and message.payload)
