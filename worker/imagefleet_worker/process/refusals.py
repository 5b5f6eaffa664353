"""Refusals: messages that no task runs. Each becomes a dead letter, its job ends, and its sender gets the reason."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import redis
import structlog

from imagefleet.contract.queues import GENERATE_TASK
from imagefleet.errors import ImageFleetError, InvalidJob, described, reason_of
from imagefleet_worker.errors import JobCanceled, JobExpired, WorkerError
from imagefleet_worker.jobs.message import Message
from imagefleet_worker.process.celery_results import CeleryResults
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.message_check import MalformedMessage, refused

if TYPE_CHECKING:  # torch, which a sender of webhooks does without
    from imagefleet_worker.jobs.runner import JobRunner

log = structlog.get_logger(__name__)

_EXPIRED = "the message had expired before it ran; submit the job under a new id with a later end"
_REVOKED = "revoked before it ran; submit it under a new id if the images are wanted after all"


class Refusals:
    """Ends messages that are not run, in the name of one worker."""

    def __init__(
        self,
        *,
        leases: Leases,
        dead_letters: DeadLetterWriter,
        results: CeleryResults,
        runner: "Callable[[], JobRunner | None]",
    ) -> None:
        """Record the ends of jobs with *runner*, if there is one by then."""
        self._leases = leases
        self._dead_letters = dead_letters
        self._results = results
        self._runner = runner

    def malformed(self, claimed: Claimed, problem: MalformedMessage) -> None:
        """End a message that Celery cannot run, as a dead letter.

        Raises:
            redis.RedisError: If Redis cannot be reached.
        """
        self._dead_letters.add_malformed(claimed, problem)
        self._end(claimed.token, problem, InvalidJob(problem.reason))

    def put_away(self, token: str, code: str, sentence: str) -> None:
        """End a message that Celery has taken, as a dead letter with *code*; nothing if its lease is lost.

        Raises:
            redis.RedisError: If Redis cannot be reached.
        """
        text = self._dead_letters.read(token)
        if text is None:
            return
        problem = refused(text, sentence)
        self._dead_letters.add_refused(token, code, problem)
        self._end(token, problem, WorkerError(sentence))
        self._leases.ack(token)

    def failed(self, token: str, error: Exception) -> None:
        """End a message whose task failed outside of an attempt: as a dead letter, or given back if Redis was away."""
        log.error("a task failed outside of an attempt", exc_info=error)
        if not isinstance(error, redis.ConnectionError | redis.TimeoutError):
            try:
                self.put_away(token, WorkerError.code, f"{described(error)}; a fault of imagefleet, please report it")
            except redis.RedisError as problem:
                log.warning("no dead letter: the message is given back", error=reason_of(problem))
        self._leases.give_back(token)  # nothing, if it is a dead letter

    def dropped(self, job_id: str, kwargs: Mapping[str, Any], *, token: str, expired: bool) -> None:
        """Record the end of a job that Celery drops, because it was revoked or its message has expired."""
        error = JobExpired(_EXPIRED) if expired else JobCanceled(_REVOKED)
        self._record(job_id, kwargs, token=token, error=error)

    def _end(self, token: str, problem: MalformedMessage, error: ImageFleetError) -> None:
        try:
            if problem.message_id and problem.task == GENERATE_TASK:
                self._record(problem.message_id, problem.kwargs, token=token, error=error)
            self._results.fail(problem)
        except redis.ResponseError as refusal:  # such as a key of another type: it would be refused for ever
            log.warning("redis refuses the end of a job; the dead letter stays", error=reason_of(refusal))

    def _record(self, job_id: str, kwargs: Mapping[str, Any], *, token: str, error: ImageFleetError) -> None:
        if runner := self._runner():
            message = Message(job_id, self._leases.claim_for(token), redeliveries=0, kwargs=kwargs)
            runner.refuse(message, error)
