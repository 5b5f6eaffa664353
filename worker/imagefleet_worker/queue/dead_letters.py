"""Dead letters: keeps a claimed message that is not run any more, with the reason."""

import redis
import structlog

from imagefleet.contract.queues import DELIVER_TASK, GENERATE_TASK
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.message_check import MalformedMessage
from imagefleet_worker.settings import LeaseSettings

log = structlog.get_logger(__name__)


class DeadLetterWriter:
    """Writes dead letters in the name of one worker."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, settings: LeaseSettings, worker: str) -> None:
        self._client = client
        self._keys = keys
        self._settings = settings
        self._worker = worker

    def add_job(self, token: str, job_id: str, code: str, sentence: str, attempts: int) -> None:
        """Dead-letter the message of a job, claimed under *token*."""
        self._add_claimed(token, code, sentence, attempts=attempts, task=GENERATE_TASK, job_id=job_id)

    def add_delivery(self, token: str, code: str, sentence: str, attempts: int) -> None:
        """Dead-letter the message that delivers a webhook, claimed under *token*."""
        self._add_claimed(token, code, sentence, attempts=attempts, task=DELIVER_TASK, job_id=None)

    def add_malformed(self, claimed: Claimed, problem: MalformedMessage) -> None:
        """Dead-letter a message that Celery cannot run."""
        self._add(
            DeadLetter(
                job_id=problem.message_id,
                task=problem.task,
                reason="malformed",
                message=f"{problem.reason}; correct what sent it, and send it again",
                worker=self._worker,
                list_key=claimed.list_key,
                original=claimed.message,
            )
        )

    def add_refused(self, token: str, code: str, problem: MalformedMessage) -> None:
        """Dead-letter a message, claimed under *token*, that Celery has taken."""
        task, job_id = problem.task or "", problem.message_id
        self._add_claimed(token, code, problem.reason, attempts=0, task=task, job_id=job_id)

    def read(self, token: str) -> str | None:
        """The message that is claimed under *token*; None if the lease is lost."""
        text = self._client.hget(self._keys.claims, token)
        return None if text is None else str(text)

    def _add_claimed(
        self, token: str, code: str, sentence: str, *, attempts: int, task: str, job_id: str | None
    ) -> None:
        original = self.read(token)
        list_key = self._client.hget(self._keys.origins, token)
        if (
            original is None or list_key is None
        ):  # the lease is lost: the worker that holds the message now dead-letters it
            log.warning("no dead letter, because the lease is lost", job_id=job_id)
            return
        self._add(
            DeadLetter(
                job_id=job_id,
                task=task,
                reason=code,
                message=sentence,
                attempts=attempts,
                worker=self._worker,
                list_key=str(list_key),
                original=original,
            )
        )

    def _add(self, letter: DeadLetter) -> None:
        most, ttl_s = self._settings.max_dead_letters, self._settings.dead_letter_ttl_s
        self._client.execute_command(*dead_letters.add(self._keys, letter, most=most, ttl_s=ttl_s))
        log.error("dead letter", id=letter.id, job_id=letter.job_id, reason=letter.reason, sentence=letter.message)
