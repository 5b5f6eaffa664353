"""Celery's results: what a Celery app gets for a message of its own that no task ran.

Without it, `AsyncResult.get` of the app would wait for ever, and its `link_error` would not be called.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from celery import states
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, NotRegistered, TaskRevokedError

from imagefleet.contract.queues import GENERATE_TASK
from imagefleet.errors import InvalidJob, JobFailed
from imagefleet_worker.queue.message_check import MalformedMessage, refused
from imagefleet_worker.queue.message_headers import MessageHeaders

log = structlog.get_logger(__name__)


def revoke(backend: Any, request: Any, sentence: str, *, is_stored: bool = True) -> None:
    """Store in *backend* that the task of *request* was revoked, for the reason in *sentence*, and call its errbacks.

    Celery's `mark_as_revoked` calls none, and its chain would wait.
    """
    error = TaskRevokedError(sentence)
    backend.mark_as_failure(request.id, error, request=request, store_result=is_stored, state=states.REVOKED)


class CeleryResults:
    """The results of messages that no task ran, in the backend of one Celery app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def fail(self, problem: MalformedMessage) -> None:
        """Store a failure with the reason for whoever waits for the result of the message, and call its errbacks.

        Nobody waits for a message without an id. An error of the backend is logged: the dead letter has the reason.
        """
        headers = problem.headers
        if headers is None:
            return
        is_stored = not self._ignores(headers)
        request = Context(_request(headers, problem.embed))
        try:
            self._app.backend.mark_as_failure(headers.id, _error(problem), request=request, store_result=is_stored)
        except Exception:  # whatever the backend, or a signature of the message, raises
            log.exception("the sender does not hear that its message was refused", message_id=headers.id)

    def purged(self, text: str) -> None:
        """Say to whoever waits for the result of the message *text* that its queue was purged."""
        message = refused(text, "")
        headers = message.headers
        if headers is None:
            return
        request = Context(_request(headers, message.embed))
        try:
            sentence = "canceled: its queue was purged"
            revoke(self._app.backend, request, sentence, is_stored=not self._ignores(headers))
        except Exception:  # as above
            log.exception("the sender does not hear that its message was purged", message_id=headers.id)

    def _ignores(self, headers: MessageHeaders) -> bool:
        if headers.ignore_result is not None:
            return headers.ignore_result
        task = self._app.tasks.get(headers.task)
        return bool(task and task.ignore_result)


def _request(headers: MessageHeaders, embed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": headers.id,
        "task": headers.task,
        "root_id": headers.root_id or headers.id,
        "parent_id": headers.parent_id,
        "group": headers.group,
        "group_index": headers.group_index,
        "correlation_id": headers.id,
        "args": [],
        "kwargs": {},
        "delivery_info": {},
        **embed,
    }


def _error(problem: MalformedMessage) -> Exception:
    if problem.is_unknown_task:
        return NotRegistered(problem.task)
    if problem.task == GENERATE_TASK:
        return JobFailed(f"{InvalidJob.code}: {problem.reason}")
    return InvalidTaskError(problem.reason)
