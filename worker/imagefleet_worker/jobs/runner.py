"""The job runner: one attempt at a job, from its claimed message to its recorded end or a later retry."""

from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from imagefleet.contract.fingerprints import fingerprint_of
from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import JobResult
from imagefleet.errors import IdTaken, ImageFleetError, InvalidJob, described
from imagefleet.store import records, webhook_queue
from imagefleet.store.keys import Keys
from imagefleet_worker.errors import DeviceFault, LeaseLost, Poisoned, WorkerError
from imagefleet_worker.jobs.attempt_ends import TAKEN, AttemptEnds
from imagefleet_worker.jobs.failures import failed_result
from imagefleet_worker.jobs.message import Message, parse_job, webhook_of_invalid_job
from imagefleet_worker.jobs.progress import AttemptProgress, ProgressPublisher
from imagefleet_worker.jobs.progress_webhooks import UpdateWebhooks
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.running import AttemptState, RunningAttempt, RunningAttempts
from imagefleet_worker.jobs.watched_image_maker import WatchedImageMaker
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.queue import attempt_records, retry_records
from imagefleet_worker.queue.backoff import backoff_s
from imagefleet_worker.queue.claims import StartedAttempt
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.lost_workers import is_culprit
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

#: The longest pause before a retry.
_LONGEST_PAUSE_S: Final = 3600.0


class JobRunner:
    """Runs the jobs of one worker process; safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        redis: RetryingRedis,
        leases: Leases,
        attempts: RunningAttempts,
        image_maker: WatchedImageMaker,
        progress: ProgressPublisher,
        metrics: Metrics,
        dead_letters: DeadLetterWriter,
        worker: str,
        exit_process: Callable[[str], NoReturn],
    ) -> None:
        """Run jobs in the name of *worker*; *exit_process* ends it with a sentence if its device is broken."""
        self._settings = settings
        self._keys = keys
        self._redis = redis
        self._leases = leases
        self._attempts = attempts
        self._image_maker = image_maker
        self._progress = progress
        self._ends = AttemptEnds(
            settings, keys=keys, redis=redis, leases=leases, metrics=metrics, dead_letters=dead_letters
        )
        self._metrics = metrics
        self._dead_letters = dead_letters
        self._worker = worker
        self._exit_process = exit_process

    def start(self) -> None:
        """Publish progress from now on."""
        self._progress.start()

    def stop(self) -> None:
        """Publish no more progress."""
        self._progress.stop()

    def run(self, message: Message) -> JobResult | None:
        """Run the job of *message* once.

        Returns:
            The recorded result; None if the job has not ended, because it is retried later or is another worker's.
        """
        with self._attempts.tracking(message.job_id, claim=message.claim) as attempt:
            try:
                return self._run(message, attempt)
            except LeaseLost as error:
                log.warning("job left to another worker", job_id=message.job_id, reason=error.message)
                return None
            except IdTaken as error:
                return self._ends.put_aside(message, error)

    def refuse(self, message: Message, error: ImageFleetError) -> JobResult | None:
        """Record *error* as the end of a job that is never run.

        Returns:
            The recorded result; None if the job is another worker's.
        """
        with self._attempts.tracking(message.job_id, claim=message.claim) as attempt:
            try:
                job = parse_job(message.job_id, message.kwargs, settings=self._settings)
                webhook = job.webhook
                attempt.fingerprint = fingerprint_of(job)
            except InvalidJob:
                job, webhook = None, webhook_of_invalid_job(message.kwargs)
            try:
                return self._ends.record(failed_result(message, error, job=job), message, attempt, webhook=webhook)
            except LeaseLost:
                return None
            except IdTaken as taken:
                return self._ends.put_aside(message, taken)

    def _run(self, message: Message, attempt: RunningAttempt) -> JobResult | None:
        try:
            job = parse_job(message.job_id, message.kwargs, settings=self._settings)
        except InvalidJob as error:
            attempt.fingerprint, webhook = message.fingerprint, webhook_of_invalid_job(message.kwargs)
            return self._ends.record(failed_result(message, error), message, attempt, webhook=webhook)
        attempt.fingerprint = message.checked_fingerprint or fingerprint_of(job)
        if is_culprit(message.losses, most=self._settings.lease.max_deliveries):
            return self._end_poisoned(message, attempt, job=job)
        begun = message.started or self._begin(message, attempt)
        if begun is None:
            return self._ends.read(message.job_id, attempt)
        attempt.number, attempt.queued_s = begun
        attempt.is_redelivered = message.redeliveries > 0
        attempt.time_limit_s = message.time_limit_s
        attempt.deadline = min(filter(None, (job.deadline, message.expires)), default=None)
        if job.group and not message.started:  # a client has entered its own jobs into their groups
            self._redis.execute(records.join_group(self._keys, message.job_id, group=job.group), attempt=attempt)
        return self._generate(message, attempt, job=job)

    def _begin(self, message: Message, attempt: RunningAttempt) -> StartedAttempt | None:
        """Mark the job as running; None if it has ended already. Raises IdTaken if the record is another job's."""
        command = attempt_records.start(
            self._keys,
            message.job_id,
            claim=message.claim,
            worker=self._worker,
            model=self._settings.model.alias,
            fingerprint=attempt.fingerprint,
        )
        reply, *details = self._redis.execute(command, attempt=attempt)
        if reply == "lost":
            raise LeaseLost("the lease was gone before the job began")
        if reply == "taken":
            raise IdTaken(TAKEN)
        if reply == "ended":
            return None
        if reply == "canceled":
            attempt.cancel()
        return StartedAttempt(int(details[0]), max(float(details[1]), 0.0))

    def _generate(self, message: Message, attempt: RunningAttempt, *, job: GenerationJob) -> JobResult | None:
        """Make the images, and record the end or postpone the job to its next attempt."""
        progress = self._report_running(message, attempt, job=job)
        try:
            attempt.check()
            result = self._image_maker.generate(job, attempt, progress=progress)
        except LeaseLost:
            raise
        except DeviceFault as error:
            self._exit_process(error.message)
        except ImageFleetError as error:
            if self._postpone(error, message, attempt):
                return None
            result = failed_result(message, error, job=job, attempt=attempt.number, worker=self._worker)
        except Exception as error:  # an error of this package must not leave a job that never ends
            log.exception("job failed with an unexpected error", job_id=message.job_id)
            problem = WorkerError(f"{described(error)}; a fault of imagefleet, please report it")
            result = failed_result(message, problem, job=job, attempt=attempt.number, worker=self._worker)
        finally:
            progress.end()
        return self._ends.record(result, message, attempt, webhook=job.webhook)

    def _report_running(self, message: Message, attempt: RunningAttempt, *, job: GenerationJob) -> AttemptProgress:
        """Queue the delivery of `job.running`, if the job asks for it, and return what reports the steps."""
        interval_s = self._settings.webhook.progress_interval_s
        updates = UpdateWebhooks(
            message.job_id, job, attempts=attempt.number, worker=self._worker, interval_s=interval_s
        )
        if not attempt.is_canceled and (delivery := updates.running()):
            self._redis.execute(webhook_queue.push(self._keys, delivery), attempt=attempt)
        return AttemptProgress(message.job_id, publisher=self._progress, metrics=self._metrics, updates=updates)

    def _postpone(self, error: ImageFleetError, message: Message, attempt: RunningAttempt) -> bool:
        """Put the job back for its next attempt; False if there is none."""
        if not (isinstance(error, WorkerError) and error.retryable):
            return False
        worker, attempt.state = self._settings.worker, AttemptState.ENDING
        command = retry_records.count_failure(self._keys, message.job_id, claim=message.claim, attempt=attempt.number)
        reply, *details = self._redis.execute(command, attempt=attempt)
        if reply == "lost":
            raise LeaseLost("the lease was gone when the attempt had failed")
        failures, failing_s = int(details[0]), float(details[1])
        pause_s = backoff_s(failures, base_s=worker.retry_base_s, longest_s=_LONGEST_PAUSE_S)
        if failing_s + pause_s > worker.retry_for_s:
            return False
        log.warning("job postponed", job_id=message.job_id, reason=str(error), pause_s=round(pause_s, 1))
        self._leases.postpone(message.claim.token, due_in_s=pause_s)
        return True

    def _end_poisoned(self, message: Message, attempt: RunningAttempt, *, job: GenerationJob) -> JobResult:
        count = len(message.losses)
        error = Poisoned(
            f"{count} workers were lost with this job on their devices; see the dead letters: imagefleet dead list"
        )
        known = "; ".join(f"{number}. {loss.describe()}" for number, loss in enumerate(message.losses, 1))
        sentence = f"{count} workers were lost with this job on their devices; replay it if not by its fault: {known}"
        self._dead_letters.add_job(message.claim.token, message.job_id, error.code, sentence, count)
        return self._ends.record(failed_result(message, error, job=job), message, attempt, webhook=job.webhook)
