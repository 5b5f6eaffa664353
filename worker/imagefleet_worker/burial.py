"""Burial: puts a claimed message among the dead letters, with the reason."""

from typing import TYPE_CHECKING

import redis
import structlog

from imagefleet import deadletters
from imagefleet.deadletters import DeadLetter
from imagefleet.queues import DELIVER_TASK, GENERATE_TASK, Keys
from imagefleet_worker.claims import Claimed
from imagefleet_worker.envelopes import Malformed
from imagefleet_worker.settings import LeaseSettings

if TYPE_CHECKING:
    from imagefleet_worker.attempts import Message

log = structlog.get_logger(__name__)


class Burial:
    """Writes dead letters in the name of one worker."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, settings: LeaseSettings, worker: str) -> None:
        self._client = client
        self._keys = keys
        self._settings = settings
        self._worker = worker

    def of_job(self, message: "Message", code: str, sentence: str, attempts: int) -> None:
        """Bury the message of a job."""
        self._bury(message.claim.token, code, sentence, attempts=attempts, task=GENERATE_TASK, job_id=message.job_id)

    def of_delivery(self, token: str, code: str, sentence: str, attempts: int) -> None:
        """Bury the message of a webhook's delivery."""
        self._bury(token, code, sentence, attempts=attempts, task=DELIVER_TASK, job_id=None)

    def of_malformed(self, claimed: Claimed, problem: Malformed) -> None:
        """Bury a message that is no task."""
        self._add(
            DeadLetter(
                job_id=problem.message_id,
                task=problem.task,
                reason="malformed",
                message=problem.reason,
                worker=self._worker,
                list_key=claimed.list_key,
                original=claimed.message,
            )
        )

    def _bury(self, token: str, code: str, sentence: str, *, attempts: int, task: str, job_id: str | None) -> None:
        original = self._client.hget(self._keys.claims, token)
        list_key = self._client.hget(self._keys.origins, token)
        if original is None or list_key is None:  # the lease is lost: whoever holds the message buries it
            log.warning("nothing to bury", job_id=job_id)
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
                original=str(original),
            )
        )

    def _add(self, letter: DeadLetter) -> None:
        most, ttl_s = self._settings.max_dead_letters, self._settings.dead_letter_ttl_s
        self._client.execute_command(*deadletters.add(self._keys, letter, most=most, ttl_s=ttl_s))
        log.error("dead letter", id=letter.id, job_id=letter.job_id, reason=letter.reason, sentence=letter.message)
