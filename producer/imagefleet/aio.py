"""The asyncio twin of `client`: the same operations, the same errors, awaited."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from imagefleet import cancellation, operations
from imagefleet.async_connections import AsyncConnection
from imagefleet.cancellation import GroupCanceled
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


class AsyncClient:
    """As `Client`, for one event loop; what is said and raised there holds here."""

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
        self._connection = AsyncConnection(self._settings)

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the sockets."""
        await self._connection.close()

    async def submit(
        self,
        job: JobLike | None = None,
        *,
        job_id: str | None = None,
        link: Links = None,
        link_error: Links = None,
        **fields: Any,
    ) -> str:
        """Queue one job and return its id."""
        ids = None if job_id is None else [job_id]
        [queued] = await self.submit_many([one(job, fields)], ids=ids, link=link, link_error=link_error)
        return queued

    async def submit_many(
        self,
        jobs: Iterable[JobLike],
        ids: Sequence[str] | None = None,
        *,
        group: str | None = None,
        link: Links = None,
        link_error: Links = None,
    ) -> list[str]:
        """Queue many jobs in one round trip (one for every 5,000) and return their ids in the same order."""
        submitting = operations.submit(self._settings, grouped(jobs, group), ids=ids, link=link, link_error=link_error)
        return await self._connection.run(submitting)

    async def get(self, job_id: str) -> Snapshot:
        """What is known of a job now. Raises `JobNotFound` where there is no record of it."""
        [snapshot] = await self._connection.run(operations.look(self._settings, [job_id]))
        return snapshot

    async def status(self, job_id: str) -> JobStatus:
        """Where a job is now. Raises `JobNotFound` where there is no record of it."""
        return (await self.get(job_id)).status

    async def outlook(self, job_id: str) -> Outlook:
        """A job's place in line, and when it should be done at the speed that its workers have now."""
        return await self._connection.run(outlook(self._settings.keys, job_id))

    async def result(self, job_id: str, timeout_s: float | None = None) -> JobResult:
        """Wait until a job has ended and return how."""
        async with aclosing(self.as_completed([job_id], timeout_s)) as results:
            return await anext(results)

    async def as_completed(self, ids: Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[JobResult, None]:
        """Yield the results of *ids* as the jobs end. Raises as `result` does; the time is that of all together."""
        async with aclosing(self.events(ids, timeout_s)) as events:
            async for event in events:
                if event.result is not None:
                    yield event.result

    async def map(
        self, prompts: Iterable[JobLike], *, timeout_s: float | None = None, **fields: Any
    ) -> AsyncGenerator[JobResult, None]:
        """Queue a job for each prompt, with the same *fields*, and yield the results in the order of the prompts.

        The jobs are queued when the first result is asked for.
        """
        ids = await self.submit_many([with_defaults(prompt, fields) for prompt in prompts])
        order = InOrder(ids)
        async with aclosing(self.as_completed(ids, timeout_s)) as results:
            async for result in results:
                for each in order.add(result):
                    yield each

    def events(self, ids: str | Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[JobEvent, None]:
        """Yield what happens to jobs: first where each is now, then every change, until all have ended."""
        wanted = [ids] if isinstance(ids, str) else ids
        return self._connection.watch(Watch(self._settings, wanted, timeout_s=timeout_s).run())

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job and return the status it has now."""
        return await self._connection.run(cancellation.cancel(self._settings, job_id))

    async def cancel_group(self, group: str) -> GroupCanceled:
        """Cancel all jobs of *group* that have not ended."""
        return await self._connection.run(cancellation.cancel_group(self._settings, group))

    async def queues(self) -> list[Queue]:
        """What waits in each queue now, and how many work on it; by name."""
        return list((await self.overview()).queues)

    async def workers(self) -> list[Worker]:
        """Every worker process that is there now, with what it does; by name."""
        return list((await self.overview()).workers)

    async def overview(self) -> Overview:
        """All queues and workers of the fleet at one moment, in two round trips."""
        return await self._connection.run(survey(self._settings.keys))

    async def queue_length(self, model: str = "default") -> int:
        """How many jobs wait for *model*."""
        return await self._connection.run(operations.queue_length(self._settings.keys, model))
