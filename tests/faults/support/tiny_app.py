"""A Celery app whose tasks only wait, on the fleet's own transport: what is tested with it is the transport alone.

Each task writes what happens to it to the file `TINY_JOURNAL`, one JSON object a line.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.exceptions import Ignore

from imagefleet.contract.queues import REDELIVERIES_HEADER
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import transport
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.loop_waker import LoopWaker
from imagefleet_worker.queue.message_check import MalformedMessage
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import settings

_values = settings()
_journal = Path(os.environ["TINY_JOURNAL"])
_held: list[Leases] = []
_wakers: list[LoopWaker] = []

app = Celery("tiny", broker=_values.redis.url, set_as_current=False)
app.conf.update(
    broker_transport_options={"global_keyprefix": _values.redis.key_prefix, "socket_timeout": 5},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_default_queue="tiny",
    task_acks_late=True,
    task_ignore_result=True,
    worker_pool="threads",
    worker_concurrency=4,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


def note(event: str, name: str, **more: Any) -> None:
    """Write a line to the journal."""
    line = json.dumps({"event": event, "name": name, "pid": os.getpid(), "at": time.time(), **more})
    with _journal.open("a") as file:
        file.write(line + "\n")


class Listener(ClaimListener):
    """Notes the claims that are lost."""

    def mark_lost(self, token: str) -> None:
        note("lost", "")


@signals.celeryd_init.connect
def _install(**_: Any) -> None:
    keys = Keys(_values.redis.key_prefix)
    dead_letters = DeadLetterWriter(connect(_values.redis), keys=keys, settings=_values.lease, worker="tiny")

    def bury(claimed: Claimed, problem: MalformedMessage) -> None:
        note("malformed", problem.message_id or "", reason=problem.reason)
        dead_letters.add_malformed(claimed, problem)

    waker = LoopWaker()
    leases = Leases(
        connect(_values.redis), keys=keys, duration_s=_values.lease.duration_s, listener=Listener(), wake=waker.wake
    )
    transport.install(app)
    transport.claim_with(_values, leases, tasks=lambda: app.tasks, waker=waker, on_malformed=bury, leave=sys.exit)
    _held.append(leases)
    _wakers.append(waker)


@signals.task_received.connect
def _received(request: Any = None, **_: Any) -> None:
    transport.note_received(request.message.delivery_tag)


@signals.task_postrun.connect
def _acknowledge(task: Any = None, **_: Any) -> None:
    leases, tag = _held[0], task.request.properties["delivery_tag"]
    note("acknowledged" if leases.is_held(tag) else "not held", task.request.id)
    leases.ack(tag)
    _wakers[0].wake()


@app.task(name="tiny.work", bind=True)
def work(self: Any, seconds: float = 0.0) -> None:
    """Take *seconds*."""
    note("start", self.request.id, redeliveries=self.request.get(REDELIVERIES_HEADER) or 0)
    threading.Event().wait(seconds)
    note("end", self.request.id)


@app.task(name="tiny.later", bind=True)
def later(self: Any, due_in_s: float, seconds: float) -> None:
    """Be postponed at the first start, then take *seconds*."""
    first = not any('"postponed"' in line and self.request.id in line for line in _journal.read_text().splitlines())
    note("start", self.request.id)
    if first:
        note("postponed", self.request.id)
        _held[0].postpone(self.request.properties["delivery_tag"], due_in_s=due_in_s)
        raise Ignore
    threading.Event().wait(seconds)
    note("end", self.request.id)
