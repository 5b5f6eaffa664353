"""The ends of attempts: records how a job ended, or puts a message aside whose id is another job's."""

import json
from typing import Final

import structlog

from imagefleet.contract.jobs import Webhook
from imagefleet.contract.results import JobResult
from imagefleet.errors import IdTaken
from imagefleet.store import records
from imagefleet.store.events import end_event
from imagefleet.store.keys import Keys
from imagefleet_worker.errors import LeaseLost
from imagefleet_worker.jobs.failures import failed_result
from imagefleet_worker.jobs.message import Message
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.running import AttemptState, RunningAttempt
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.queue import attempt_records
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

TAKEN: Final = "another job or program uses this id; send the job again under an id of its own"


class AttemptEnds:
    """Records the ends of the attempts of one process; safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        redis: RetryingRedis,
        leases: Leases,
        metrics: Metrics,
        dead_letters: DeadLetterWriter,
    ) -> None:
        """Keep records as long as *settings* say; tell *leases* of claims that end, and *metrics* of jobs."""
        self._result_ttl_s = settings.redis.result_ttl_s
        self._keys = keys
        self._redis = redis
        self._leases = leases
        self._metrics = metrics
        self._dead_letters = dead_letters

    def record(
        self, result: JobResult, message: Message, attempt: RunningAttempt, *, webhook: Webhook | None
    ) -> JobResult:
        """Record *result*, publish it and queue its webhook, in one step; unless Celery waits, the claim ends, too.

        Returns:
            *result*, or the result with which the job had ended before.

        Raises:
            IdTaken: If the record is that of another job; nothing is changed then.
            LeaseLost: If another worker has the job.
        """
        attempt.state = AttemptState.ENDING
        event, text, outgoing = end_event(result, webhook=webhook, keys=self._keys)
        if not message.is_awaited:
            self._leases.will_end(attempt.claim.token)
        command = attempt_records.finish(
            self._keys,
            result.id,
            claim=attempt.claim,
            status=result.status,
            result=text,
            event=event,
            ttl_s=self._result_ttl_s,
            fingerprint=attempt.fingerprint,
            ends_claim=not message.is_awaited,
            outgoing=outgoing,
        )
        reply = self._redis.execute(command, attempt=attempt)
        if reply == "lost":
            raise LeaseLost("the lease was gone when the job had ended")
        if reply == "taken":
            raise IdTaken(TAKEN)
        if reply != "recorded":
            return self.read(result.id, attempt) or result
        if not message.is_awaited:
            self._leases.has_ended(attempt.claim.token)
        self._metrics.job_ended(result)
        _log_end(result)
        return result

    def put_aside(self, message: Message, error: IdTaken) -> JobResult:
        """Dead-letter a message whose id is another job's, and leave that job's record alone."""
        token, redeliveries = message.claim.token, message.redeliveries
        self._dead_letters.add_job(token, message.job_id, error.code, error.message, redeliveries)
        return failed_result(message, error)

    def read(self, job_id: str, attempt: RunningAttempt) -> JobResult | None:
        """The result of a job that had ended before, for Celery's callbacks."""
        (stored,) = self._redis.execute(records.read(self._keys, job_id, "result"), attempt=attempt)
        return JobResult.model_validate(json.loads(stored)) if stored else None


def _log_end(result: JobResult) -> None:
    log.info(
        "job ended",
        job_id=result.id,
        status=result.status.value,
        error=result.error.code if result.error else None,
        attempts=result.attempts,
        warnings=[warning.code for warning in result.warnings],
        **{name: round(seconds, 3) for name, seconds in result.timings.model_dump().items() if seconds},
    )
