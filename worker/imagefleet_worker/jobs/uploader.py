"""The uploader: stores the images of attempts, and decides by the manifest which of several attempts has won."""

import uuid
from dataclasses import replace

import structlog

from imagefleet.contract.results import Artifact, JobResult
from imagefleet.errors import IdTaken, ImageFleetError, reason_of
from imagefleet_worker.errors import LeaseLost, StorageUnavailable
from imagefleet_worker.jobs.lease_guard import LeaseGuard
from imagefleet_worker.jobs.render_counter import RenderCounter
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.jobs.storage_retries import StorageRetries
from imagefleet_worker.jobs.upload import Upload
from imagefleet_worker.storage.bucket import Storage
from imagefleet_worker.storage.made_images import MadeImages
from imagefleet_worker.storage.spool import Spool, SpooledFiles

log = structlog.get_logger(__name__)


class Uploader:
    """Stores what attempts have made; safe to use from many threads.

    The manifest names only objects of the attempt that wrote it. An attempt that does not write it removes its own
    objects; those of an attempt whose process has died are removed by the next one.
    """

    def __init__(
        self, storage: Storage, guard: LeaseGuard, *, spool: Spool, retries: StorageRetries, renders: RenderCounter
    ) -> None:
        """Store in *storage*; ask *guard* before each write. What S3 cannot take now waits in *spool*."""
        self._storage = storage
        self._guard = guard
        self._spool = spool
        self._retries = retries
        self._renders = renders

    def has_room(self) -> bool:
        """Whether the images of one more job could wait for S3."""
        return not self._spool.is_full

    def find(self, attempt: RunningAttempt) -> JobResult | None:
        """The manifest that an earlier attempt at the job has written; None if there is none.

        For the first attempt S3 is asked only if the id may have been used before, and a random one has not. If S3 does
        not answer then, `store` finds out. A repeated attempt waits for the answer.

        Raises:
            IdTaken: If the manifest is that of another job.
            StorageRefused, StorageUnavailable: As `Storage.read_manifest`.
        """
        if not attempt.is_repeated and _is_random(attempt.job_id):
            return None
        try:
            stored = self._storage.read_manifest(attempt.job_id)
        except StorageUnavailable as error:
            if not attempt.is_repeated:
                return None
            stored = self._retries.repeat(lambda: self._storage.read_manifest(attempt.job_id), error, attempt=attempt)
        return self._accepted(stored, attempt) if stored else None

    def take(self, attempt: RunningAttempt, *, model: str, revision: str | None) -> MadeImages | None:
        """The images that an earlier attempt on this machine has made of the job with that *model*, but not stored.

        If there are none, although images were made, this counts as a repeated render.
        """
        if not attempt.is_repeated:
            return None

        def is_same(result: JobResult) -> bool:
            made_with = (result.fingerprint, result.model, result.model_revision)
            return made_with == (attempt.fingerprint, model, revision)

        made = self._spool.take(attempt.job_id, accepts=is_same)
        if made is None:
            self._renders.render_begins(attempt)
            return None
        log.info("the images were found on disk", job_id=attempt.job_id)
        return replace(made, result=made.result.model_copy(update={"attempts": attempt.number}))

    def store(self, made: MadeImages, attempt: RunningAttempt) -> JobResult:
        """Store *made* and its manifest, and return what the manifest says.

        While S3 is away, the files wait on disk, and only the upload is repeated.

        Raises:
            IdTaken: If there is a manifest, and it is that of another job.
            LeaseLost, JobCanceled, JobExpired: If nobody wants the images any more; those stored already are removed.
            StorageRefused: As `Storage.upload`.
            StorageUnavailable: If S3 was away for longer than a job may wait.
        """
        upload = Upload(self._storage, self._guard, attempt, made)
        spooled = made.files if isinstance(made.files, SpooledFiles) else None
        is_lost = False
        try:
            try:
                stored = upload.run()
            except StorageUnavailable as error:
                spooled = spooled or self._spool_out(made, upload)
                self._renders.images_wait(attempt)  # a worker that dies before this line has left its files on disk
                stored = self._retries.repeat(upload.run, error, attempt=attempt)
        except ImageFleetError as error:
            is_lost = isinstance(error, LeaseLost)
            self._remove(upload)
            raise
        finally:
            if spooled:
                self._spool.release(spooled, keep=is_lost)
        return self._accepted(stored, attempt)

    def check(self) -> None:
        """Write, read and remove a test object. Raises as `Storage.check`."""
        self._storage.check()

    def with_urls(self, result: JobResult) -> JobResult:
        """*result* with a presigned URL in each artifact; the manifest outlives every such URL, so it holds none.

        Raises:
            StorageRefused: As `Storage.presign`.
        """

        def signed(artifact: Artifact) -> Artifact:
            link = self._storage.presign(artifact.uri)
            return artifact.model_copy(update={"url": link.url, "url_expires_at": link.expires_at})

        return result.model_copy(update={"artifacts": tuple(map(signed, result.artifacts))})

    def _spool_out(self, made: MadeImages, upload: Upload) -> SpooledFiles | None:
        """Let the files of *upload* wait on disk; None if they must wait in memory."""
        try:
            files = self._spool.put(made)
        except OSError as error:
            log.warning("images wait in memory, not on disk", job_id=made.result.id, reason=reason_of(error))
            return None
        upload.use(files)
        return files

    def _accepted(self, manifest: JobResult, attempt: RunningAttempt) -> JobResult:
        """*manifest* if it is that of the attempt's job; what other attempts at it left in the bucket is removed."""
        is_older = manifest.fingerprint is None and attempt.is_repeated  # a worker of an earlier version wrote it
        if manifest.fingerprint != attempt.fingerprint and not is_older:
            raise IdTaken(
                f"the bucket holds the images of another job with the id {manifest.id}; send the job again under an id "
                "of its own"
            )
        if attempt.is_repeated:
            self._tidy(manifest)
        return manifest

    def _remove(self, upload: Upload) -> None:
        try:
            upload.remove()
        except ImageFleetError as error:
            log.warning("images that no manifest names stay in the bucket", reason=error.message)

    def _tidy(self, manifest: JobResult) -> None:
        try:
            self._storage.remove_unnamed(manifest)
        except ImageFleetError as error:
            log.warning("what other attempts left stays in the bucket", job_id=manifest.id, reason=error.message)


def _is_random(job_id: str) -> bool:
    """Whether an id is a random UUID, as clients and Celery make for jobs that are given none."""
    try:
        given = uuid.UUID(job_id)
    except ValueError:
        return False
    return given.version == 4 and str(given) == job_id  # noqa: PLR2004  # the version of random UUIDs
