"""`AsyncClient`: submit jobs, wait for results and cancel, from asyncio."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from imagefleet.client import cancellation, operations
from imagefleet.client.async_connection import AsyncConnection
from imagefleet.client.cancellation import GroupCanceled
from imagefleet.client.outlook import Outlook, outlook
from imagefleet.client.overview import overview
from imagefleet.client.settings import ClientSettings
from imagefleet.client.signing import async_signed
from imagefleet.client.snapshots import JobEvent, Snapshot
from imagefleet.client.submissions import JobLike, merged, with_defaults, with_group
from imagefleet.client.watch import InOrder, Watch
from imagefleet.contract.jobs import DEFAULT_LIMITS, JobLimits
from imagefleet.contract.messages import Links
from imagefleet.contract.results import Artifact, JobResult, JobStatus
from imagefleet.links.link_signer import LinkSigner
from imagefleet.links.settings import LinkSettings
from imagefleet.store.queue_stats import Overview, Queue
from imagefleet.store.worker_registry import Worker


class AsyncClient:
    """A connection to the queue, for one event loop. A job is known by its id, which is a plain string.

    Every call raises `QueueUnavailable` within five seconds if Redis cannot be reached, even if packets vanish.
    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        *,
        key_prefix: str = "",
        sentinel_master: str = "",
        max_queued: int = 0,
        limits: JobLimits = DEFAULT_LIMITS,
        storage: LinkSettings | None = None,
    ) -> None:
        """Connect to *url* at the first call; the parameters are those of `ClientSettings`."""
        self._settings = ClientSettings(
            url=url,
            key_prefix=key_prefix,
            sentinel_master=sentinel_master,
            max_queued=max_queued,
            limits=limits,
            storage=storage,
        )
        self._connection = AsyncConnection(self._settings)
        self._links = LinkSigner(storage)

    @classmethod
    def from_settings(cls, settings: ClientSettings) -> Self:
        """A client with *settings*."""
        return cls(**settings.as_options())

    @classmethod
    def from_env(cls) -> Self:
        """A client with the settings of `IMAGEFLEET_REDIS_*`, `IMAGEFLEET_MAX_QUEUED` and `IMAGEFLEET_LIMIT_*`.

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
        require_worker: bool = False,
        **fields: Any,
    ) -> str:
        """Queue one job and return its id.

        *job* is a `GenerationJob`, a mapping of its fields, or just the prompt; *fields* are added to it. A *job_id* of
        your own makes the call repeatable: the same job twice is one job. *link* and *link_error* are Celery
        signatures. `expires_in_s` may take the place of the field `deadline`: seconds from now.

        Raises:
            InvalidJob: naming every bad field.
            NoWorker: if *require_worker*, and no worker serves the model or has served it.
            QueueFull: if *max_queued* jobs wait already.
            IdTaken: if another job has the *job_id*.
        """
        ids = None if job_id is None else [job_id]
        jobs = [merged(job, fields)]
        [queued] = await self.submit_many(
            jobs, ids=ids, link=link, link_error=link_error, require_worker=require_worker
        )
        return queued

    async def submit_many(
        self,
        jobs: Iterable[JobLike],
        ids: Sequence[str] | None = None,
        *,
        group: str | None = None,
        link: Links = None,
        link_error: Links = None,
        require_worker: bool = False,
    ) -> list[str]:
        """Queue many jobs in one round trip (one for every 5,000) and return their ids in the same order.

        The jobs of a *group* can be canceled together; a job with a group of its own keeps it.

        Raises:
            InvalidJob: naming every bad field of every bad job; then nothing was queued.
            NoWorker: if *require_worker*, and no worker serves a model or has served it; then nothing was queued.
            QueueFull, IdTaken: the `accepted` of the error lists the ids that were queued nevertheless.
        """
        submitting = operations.submit(
            self._settings,
            with_group(jobs, group),
            ids=ids,
            link=link,
            link_error=link_error,
            require_worker=require_worker,
        )
        return await self._connection.run(submitting)

    async def get(self, job_id: str) -> Snapshot:
        """What is known of a job now. Raises `JobNotFound` if there is no record of it."""
        [snapshot] = await self._connection.run(operations.read_snapshots(self._settings, [job_id]))
        return snapshot

    async def status(self, job_id: str) -> JobStatus:
        """The status of a job now. Raises `JobNotFound` if there is no record of it."""
        return (await self.get(job_id)).status

    async def outlook(self, job_id: str) -> Outlook:
        """A job's position in the queue, and when it should be done at the present speed of its workers.

        Raises `JobNotFound` if there is no record of it.
        """
        return await self._connection.run(outlook(self._settings.keys, job_id))

    async def result(self, job_id: str, timeout_s: float | None = None) -> JobResult:
        """Wait until a job has ended and return its result; see `JobResult.raise_for_status`.

        Raises:
            JobNotFound: at once, if there is no record of the job.
            ResultTimeout: after *timeout_s*; the job goes on.
        """
        async with aclosing(self.as_completed([job_id], timeout_s)) as results:
            return await anext(results)

    async def as_completed(self, ids: Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[JobResult, None]:
        """Yield the results of *ids* as the jobs end; *timeout_s* is for all of them together. Raises as `result`."""
        async with aclosing(self.events(ids, timeout_s)) as events:
            async for event in events:
                if event.result is not None:
                    yield event.result

    async def map(
        self, prompts: Iterable[JobLike], *, timeout_s: float | None = None, **fields: Any
    ) -> AsyncGenerator[JobResult, None]:
        """Queue a job for each prompt, with the same *fields*, and return the results in the order of the prompts.

        Use it as `async for result in await client.map(prompts)`.

        A prompt may be a mapping with fields of its own, such as `{"prompt": "an owl", "steps": 8}`, which win. All
        jobs are queued when `map` returns, before the first result is asked for. A result is yielded as soon as it and
        all before it are there; a result that came early waits in memory. Raises as `submit_many` and `result` do.
        """
        ids = await self.submit_many([with_defaults(prompt, fields) for prompt in prompts])
        return self._in_order(ids, timeout_s)

    async def url(self, artifact: Artifact | str, *, expires_s: int | None = None) -> str:
        """A fresh link that downloads the image of an *artifact*, or of its URI, without credentials.

        It is signed here, by boto3 (`pip install 'imagefleet[s3]'`) with the credentials that boto3 finds, and ends
        after *expires_s*, by default `IMAGEFLEET_STORAGE_PRESIGN_EXPIRES_S`, or earlier with these credentials. Whether
        the image is there is not asked.

        Raises:
            LinkNotSigned: if boto3, credentials or a usable setting are missing.
        """
        return await async_signed(self._links, artifact, expires_s=expires_s)

    def events(self, ids: str | Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[JobEvent, None]:
        """Yield what happens to jobs: first the state of each, then every change, until all have ended.

        Progress comes a few times a second. An outage of Redis of up to half a minute ends nothing.
        """
        wanted = [ids] if isinstance(ids, str) else ids
        return self._connection.watch(Watch(self._settings, wanted, timeout_s=timeout_s).run())

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job and return the status it has now.

        A queued job is `canceled` at once. The worker of a running job is asked to stop it; its status stays `running`
        until then. A job that has ended stays as it is. Raises `JobNotFound` if there is no record of the job.
        """
        return await self._connection.run(cancellation.cancel(self._settings, job_id))

    async def cancel_group(self, group: str) -> GroupCanceled:
        """Cancel all jobs of *group* that have not ended, as `cancel` does; jobs submitted later are not touched.

        Returns the number of jobs that were canceled at once, and of those whose workers were asked to stop.
        """
        return await self._connection.run(cancellation.cancel_group(self._settings, group))

    async def queues(self) -> list[Queue]:
        """Each queue, with the jobs that wait in it now and the workers that consume it; by name."""
        return list((await self.overview()).queues)

    async def workers(self) -> list[Worker]:
        """Every worker process that is registered now, with its jobs; by name."""
        return list((await self.overview()).workers)

    async def overview(self) -> Overview:
        """All queues and workers of the fleet at one moment, in two round trips."""
        return await self._connection.run(overview(self._settings.keys))

    async def queue_length(self, model: str = "default") -> int:
        """The number of jobs that wait for *model*."""
        return await self._connection.run(operations.queue_length(self._settings.keys, model))

    async def _in_order(self, ids: Sequence[str], timeout_s: float | None) -> AsyncGenerator[JobResult, None]:
        order = InOrder(ids)
        async with aclosing(self.as_completed(ids, timeout_s)) as results:
            async for result in results:
                for each in order.add(result):
                    yield each
