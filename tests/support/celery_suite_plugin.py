"""A plugin of pytest that lets tests of others consume through the transport of this package.

`SUITE_TRANSPORT` is `ours` or `stock`. Workers of Celery's tests have the pool of threads, as ours have, and no test
has more than `SUITE_TEST_S` seconds, whatever its own mark says. Messages of kombu's tests are no tasks, so they are
not checked; and their consumers have no event loop, so they look for messages whenever they wait for one.
"""

import functools
import json
import os
import sys
from collections.abc import Mapping
from queue import Empty
from types import SimpleNamespace
from typing import Any, Final

import pytest
from celery import Celery, signals
from celery.concurrency.thread import TaskPool
from celery.contrib.testing import worker as testing_worker

from imagefleet.store.keys import Keys
from imagefleet_worker.queue import dispatcher, transport
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.loop_waker import LoopWaker
from imagefleet_worker.queue.message_check import MalformedMessage
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import settings

#: What a message of kombu's tests is for.
_MESSAGE: Final = "any"
#: The apps whose workers were started; in the process of the tests another one may be the current app.
_serving: list[Celery] = []


def _tasks() -> Mapping[str, Any]:
    return _serving[-1].tasks if _serving else {_MESSAGE: SimpleNamespace(time_limit=None, soft_time_limit=None)}


def pytest_configure() -> None:
    """Before any test module is imported."""
    start_worker = testing_worker.start_worker

    is_ours = os.environ["SUITE_TRANSPORT"] == "ours"

    @functools.wraps(start_worker)
    def start_threads(app: Celery, **options: Any) -> Any:
        if is_ours:
            transport.install(app)
        _serving.append(app)
        return start_worker(app, **{**options, "pool": _pool_for(app)})

    testing_worker.start_worker = start_threads
    if is_ours:
        _claim()
        if _is_kombu():
            _poll()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A mark of the test itself, such as five minutes, would win over `--timeout`."""
    item.add_marker(pytest.mark.timeout(float(os.environ["SUITE_TEST_S"])), append=False)


def pytest_runtest_teardown() -> None:
    """A worker counts all that its process holds, and kombu's tests leave messages without an end."""
    if _is_kombu() and (process := transport._process):
        for token in process.leases._held.tokens():
            process.leases.ack(token)


def _is_kombu() -> bool:
    return "kombu" in os.environ["SUITE_OF"]


def _pool_for(app: Celery) -> type[TaskPool]:
    """The pool of threads for a worker of *app*, whose tasks are that app's."""

    class Pool(TaskPool):
        def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().on_apply(target, args, {**(kwargs or {}), "app": app}, **options)

    return Pool


class _Headers(dict[str, Any]):
    """The headers of a message that is no task: without an id and a task, which the dispatcher reads."""

    def __missing__(self, name: str) -> str:
        return _MESSAGE


def _accept(text: str, *, token: str, queue: str, **_: Any) -> dict[str, Any]:
    """Any message in kombu's form, in place of the check whether a worker can run it."""
    message = json.loads(text)
    headers = _Headers(message.get("headers") or {})
    own = {"delivery_tag": token, "delivery_info": {"exchange": "", "routing_key": queue}}
    return {**message, "headers": headers, "properties": {**message["properties"], **own}}


class NoLoop:
    """Stands in for Celery's event loop, which nobody turns here."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _poll() -> None:
    on_poll_start = transport.Poller.on_poll_start

    def look(self: Any) -> None:
        for channel in self._channels:
            channel._claimer._may_have_message = True
        on_poll_start(self)

    get = transport.Poller.get
    delivered: list[str] = []

    def accept(text: str, *, token: str, **options: Any) -> dict[str, Any]:
        delivered.append(token)
        return _accept(text, token=token, **options)

    def get_or_return(self: Any, *arguments: Any, **options: Any) -> Any:
        before = len(delivered)
        try:
            return get(self, *arguments, **options)
        except Empty:
            if len(delivered) == before:
                raise
            return None

    transport.Poller.on_poll_start = look
    transport.Poller.get = get_or_return
    dispatcher.parse_message = accept


def _claim() -> None:
    values = settings()
    keys = Keys(values.redis.key_prefix)
    waker = LoopWaker()
    leases = Leases(connect(values.redis), keys=keys, duration_s=values.lease.duration_s, wake=waker.wake)
    dead_letters = DeadLetterWriter(connect(values.redis), keys=keys, settings=values.lease, worker="suite")

    def refuse(claimed: Claimed, problem: MalformedMessage) -> None:
        dead_letters.add_malformed(claimed, problem)

    def received(request: Any = None, **_: Any) -> None:
        transport.note_received(request.message.delivery_tag)

    transport.install(SimpleNamespace(conf=SimpleNamespace(), loader=SimpleNamespace()))
    transport.claim_with(values, leases, tasks=_tasks, waker=waker, on_malformed=refuse, leave=sys.exit)
    transport._installed().loop = NoLoop()
    signals.task_received.connect(received, weak=False)
