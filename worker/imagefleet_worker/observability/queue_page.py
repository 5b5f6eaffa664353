"""The queue page: what an autoscaler asks over HTTP, `/queues/<name>`, beside the page of metrics."""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import redis
import structlog

from imagefleet.contract.queues import queue_for
from imagefleet.errors import reason_of
from imagefleet_worker.observability.queue_reader import QueueReader

log = structlog.get_logger(__name__)

_PATH: Final = "/queues/"
_WITHIN: Final = "due_within_s"
_MOST_WITHIN_S: Final = 86_400.0


class QueuePage:
    """A WSGI application: answers for queues by *reader*, and passes all other requests to *others*."""

    def __init__(self, reader: QueueReader, *, others: Callable[..., Iterable[bytes]]) -> None:
        self._reader = reader
        self._others = others

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request; a queue that nobody has used yet has only zeros."""
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(_PATH):
            return self._others(environ, start_response)
        status, answer = self._answer(path.removeprefix(_PATH), str(environ.get("QUERY_STRING", "")))
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def _answer(self, queue: str, query: str) -> tuple[HTTPStatus, dict[str, Any]]:
        if not queue.startswith(queue_for("")):
            return HTTPStatus.NOT_FOUND, {"error": "no queue of a fleet: ask for /queues/imagefleet.<model>"}
        try:
            soon_s = _soon_s(query)
        except ValueError:
            return HTTPStatus.BAD_REQUEST, {"error": f"{_WITHIN}: give 0 to {_MOST_WITHIN_S:g} seconds"}
        try:
            counts = self._reader.one(queue, soon_s=soon_s)
        except redis.RedisError as error:
            log.debug("no counts from redis", error=reason_of(error))
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "Redis does not answer: ask again later"}
        return HTTPStatus.OK, {
            "queue": queue,
            "waiting": counts.waiting.depth,
            "running": counts.running,
            "due": counts.due,
            "demand": counts.demand,
        }


def _soon_s(query: str) -> float | None:
    """The seconds that *query* asks for; None if it does not say.

    Raises:
        ValueError: if they are no number, or too many.
    """
    given = parse_qs(query, keep_blank_values=True).get(_WITHIN)
    if given is None:
        return None
    seconds = float(given[-1])
    if not 0 <= seconds <= _MOST_WITHIN_S:
        raise ValueError(seconds)
    return seconds
