"""One upload: the images and the manifest of one attempt on their way into the bucket."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from imagefleet.contract.results import Artifact, JobResult
from imagefleet_worker.jobs.lease_guard import LeaseGuard
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.storage.bucket import Storage
from imagefleet_worker.storage.image_files import EncodedImage
from imagefleet_worker.storage.made_images import MadeImages


class Upload:
    """Stores the images of one attempt and then its manifest; after a failure `run` goes on where it was."""

    def __init__(
        self,
        storage: Storage,
        guard: LeaseGuard,
        attempt: RunningAttempt,
        made: MadeImages,
    ) -> None:
        """Write *made* to *storage* as long as *guard* lets *attempt*."""
        self._storage = storage
        self._guard = guard
        self._attempt = attempt
        self._result = made.result
        self._files = made.files
        self._parameters = made.parameters
        self._start = time.perf_counter()
        #: Those of which something may lie in the bucket; the last may be on its way.
        self._begun: list[Artifact] = []
        self._stored = 0
        self._is_manifest_sent = False

    def run(self) -> JobResult:
        """Store what is not stored yet, and return what the manifest says.

        If this upload has written it, the timings in the returned result have the time that the manifest took, too.

        Raises:
            LeaseLost, JobCanceled, JobExpired: If nobody wants the images any more.
            StorageRefused, StorageUnavailable: As `Storage.upload`.
        """
        for index in range(self._stored, len(self._files)):
            self._store(index)
        manifest = self._timed(self._result).model_copy(
            update={"artifacts": tuple(self._begun), "finished_at": datetime.now(UTC)}
        )
        stored = self._storage.write_manifest(manifest, before=self._before_manifest)
        if stored == manifest:
            return self._timed(stored)
        self._is_manifest_sent = False  # another one is there, and no other attempt knows of these images
        self.remove()
        return stored

    def use(self, files: Sequence[EncodedImage]) -> None:
        """Read from *files* from now on: the same images, out of memory."""
        self._files = files

    def remove(self) -> None:
        """Remove the images, unless a manifest may name them: one that was sent, whether or not S3 has answered.

        Raises:
            StorageRefused, StorageUnavailable: As `Storage.delete`.
        """
        if not self._is_manifest_sent:
            self._storage.delete([artifact.uri for artifact in self._begun])

    def _store(self, index: int) -> None:
        file, attempt = self._files[index], self._attempt
        artifact = self._storage.artifact_for(attempt.job_id, index, file, attempt=attempt.name)
        if len(self._begun) == index:
            self._begun.append(artifact)
        self._storage.upload(artifact, file.data, parameters=self._parameters, before=self._before)
        self._stored = index + 1

    def _before(self) -> None:
        self._guard.check(self._attempt)

    def _before_manifest(self) -> None:
        self._guard.check(self._attempt)
        self._is_manifest_sent = True

    def _timed(self, result: JobResult) -> JobResult:
        timings = result.timings.model_copy(update={"upload_s": time.perf_counter() - self._start})
        return result.model_copy(update={"timings": timings})
