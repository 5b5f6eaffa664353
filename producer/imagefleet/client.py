"""The client of a service that wants images: submit jobs, wait for results, cancel."""

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from imagefleet import cancellation, operations
from imagefleet.cancellation import GroupCanceled
from imagefleet.connections import Connection
from imagefleet.jobs import DEFAULT_LIMITS, JobLimits
from imagefleet.messages import Links
from imagefleet.ordering import InOrder
from imagefleet.outlook import Outlook, outlook
from imagefleet.overview import Overview, Queue
from imagefleet.results import JobResult, JobStatus
from imagefleet.settings import ClientSettings
from imagefleet.snapshots import JobEvent, Snapshot
from imagefleet.submissions import JobLike, grouped, one, with_defaults
from imagefleet.survey import survey
from imagefleet.watching import Watch
from imagefleet.workers import Worker


class Client:
    """A connection to the queue; threads may share one. Jobs are known by their ids, which are plain strings.

    Every call raises `QueueUnavailable` within five seconds where Redis cannot be reached, packets that vanish
    included.
    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        *,
        key_prefix: str = "",
        sentinel_master: str = "",
        max_queued: int = 0,
        limits: JobLimits = DEFAULT_LIMITS,
    ) -> None:
        """Connect to *url* at the first call; the parameters are those of `ClientSettings`."""
        self._settings = ClientSettings(
            url=url,
            key_prefix=key_prefix,
            sentinel_master=sentinel_master,
            max_queued=max_queued,
            limits=limits,
        )
        self._connection = Connection(self._settings)

    @classmethod
    def from_settings(cls, settings: ClientSettings) -> Self:
        """A client with *settings*."""
        return cls(**settings.as_options())

    @classmethod
    def from_env(cls) -> Self:
        """A client with the settings of `IMAGEFLEET_REDIS_URL`, `IMAGEFLEET_REDIS_KEY_PREFIX`, `IMAGEFLEET_MAX_QUEUED`.

        Raises:
            SettingsInvalid: naming the variable that cannot be used.
        """
        return cls.from_settings(ClientSettings.from_env())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._connection.close()

    def submit(
        self,
        job: JobLike | None = None,
        *,
        job_id: str | None = None,
        link: Links = None,
        link_error: Links = None,
        **fields: Any,
    ) -> str:
        """Queue one job and return its id.

        *job* is a `GenerationJob`, a mapping of its fields, or just the prompt; *fields* are added to it. A *job_id* of
        your own makes the call repeatable: the same id twice is one job. *link* and *link_error* are Celery signatures.

        Raises:
            InvalidJob: naming every bad field.
            QueueFull: where *max_queued* jobs wait already.
        """
        ids = None if job_id is None else [job_id]
        return self.submit_many([one(job, fields)], ids=ids, link=link, link_error=link_error)[0]

    def submit_many(
        self,
        jobs: Iterable[JobLike],
        ids: Sequence[str] | None = None,
        *,
        group: str | None = None,
        link: Links = None,
        link_error: Links = None,
    ) -> list[str]:
        """Queue many jobs in one round trip (one for every 5,000) and return their ids in the same order.

        With *group* they can be canceled together; a job with a group of its own keeps it.

        Raises:
            InvalidJob: naming every bad field of every bad job; nothing was queued then.
            QueueFull: its `accepted` lists the ids that were queued before the queue was full.
        """
        submitting = operations.submit(self._settings, grouped(jobs, group), ids=ids, link=link, link_error=link_error)
        return self._connection.run(submitting)

    def get(self, job_id: str) -> Snapshot:
        """What is known of a job now. Raises `JobNotFound` where there is no record of it."""
        return self._connection.run(operations.look(self._settings, [job_id]))[0]

    def status(self, job_id: str) -> JobStatus:
        """Where a job is now. Raises `JobNotFound` where there is no record of it."""
        return self.get(job_id).status

    def outlook(self, job_id: str) -> Outlook:
        """A job's place in line, and when it should be done at the speed that its workers have now.

        Raises `JobNotFound` where there is no record of it.
        """
        return self._connection.run(outlook(self._settings.keys, job_id))

    def result(self, job_id: str, timeout_s: float | None = None) -> JobResult:
        """Wait until a job has ended and return how; see `JobResult.raise_for_status`.

        Raises:
            JobNotFound: at once, where there is no record of the job.
            ResultTimeout: after *timeout_s*; the job goes on.
        """
        return next(self.as_completed([job_id], timeout_s))

    def as_completed(self, ids: Iterable[str], timeout_s: float | None = None) -> Iterator[JobResult]:
        """Yield the results of *ids* as the jobs end. Raises as `result` does; the time is that of all together."""
        return (event.result for event in self.events(ids, timeout_s) if event.result is not None)

    def map(self, prompts: Iterable[JobLike], *, timeout_s: float | None = None, **fields: Any) -> Iterator[JobResult]:
        """Queue a job for each prompt, with the same *fields*, and yield the results in the order of the prompts.

        A prompt may be a mapping with fields of its own, such as `{"prompt": "an owl", "steps": 8}`, which win. All
        are queued when `map` is called, not when the first result is asked for. A result comes as soon as it and all
        before it are there; what came earlier waits in memory.
        """
        ids = self.submit_many([with_defaults(prompt, fields) for prompt in prompts])
        return self._in_order(ids, timeout_s)

    def events(self, ids: str | Iterable[str], timeout_s: float | None = None) -> Iterator[JobEvent]:
        """Yield what happens to jobs: first where each is now, then every change, until all have ended.

        Progress comes a few times a second. Survives Redis being away for half a minute.
        """
        wanted = [ids] if isinstance(ids, str) else ids
        return self._connection.watch(Watch(self._settings, wanted, timeout_s=timeout_s).run())

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job and return the status it has now.

        A queued job is `canceled` at once; of a running one the worker is asked to stop, and its status stays `running`
        until it has; a job that has ended stays as it is. Raises `JobNotFound` where there is no record.
        """
        return self._connection.run(cancellation.cancel(self._settings, job_id))

    def cancel_group(self, group: str) -> GroupCanceled:
        """Cancel all jobs of *group* that have not ended, as `cancel` does; jobs submitted later are not touched.

        Returns how many were canceled at once, and of how many the worker was asked to stop.
        """
        return self._connection.run(cancellation.cancel_group(self._settings, group))

    def queues(self) -> list[Queue]:
        """What waits in each queue now, and how many work on it; by name."""
        return list((self.overview()).queues)

    def workers(self) -> list[Worker]:
        """Every worker process that is there now, with what it does; by name."""
        return list((self.overview()).workers)

    def overview(self) -> Overview:
        """All queues and workers of the fleet at one moment, in two round trips."""
        return self._connection.run(survey(self._settings.keys))

    def queue_length(self, model: str = "default") -> int:
        """How many jobs wait for *model*."""
        return self._connection.run(operations.queue_length(self._settings.keys, model))

    def _in_order(self, ids: Sequence[str], timeout_s: float | None) -> Iterator[JobResult]:
        order = InOrder(ids)
        for result in self.as_completed(ids, timeout_s):
            yield from order.add(result)
