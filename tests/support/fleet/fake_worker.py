"""A stand-in for a worker: takes messages from the lists and writes records, and makes flat-coloured images by hand."""

import hashlib
import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import redis
from PIL import Image

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.queues import queue_for
from imagefleet.contract.results import Artifact, JobError, JobResult, JobStatus
from imagefleet.store import records
from imagefleet.store.events import end_event
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet_worker.queue import attempt_records

WARNING = JobWarning(
    code="prompt_truncated", field="prompt", message="prompt: text_encoder reads 77 tokens", detail={"limit": 77}
)
NO_LEASE = Claim("", "")


class FakeWorker:
    """Makes the jobs of one model in a thread of its own; prompts that begin with `fail` fail, with `warn` warn.

    With *folder* the images are written there, and *url_of* says where the file of that name is served.
    """

    def __init__(
        self,
        url: str,
        *,
        keys: Keys | None = None,
        model: str = "default",
        folder: Path | None = None,
        url_of: Callable[[str], str] | None = None,
    ) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        self._keys = keys or Keys()
        self._lists = self._keys.lists(queue_for(model))
        self._model = model
        self._folder = folder
        self._url_of = url_of
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._redis.sadd(self._keys.served, queue_for(self._model))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._redis.close()

    def start(self, job_id: str) -> list[Any]:
        """Mark a job as running."""
        return self._send(
            attempt_records.start(self._keys, job_id, claim=NO_LEASE, worker="fake@test", model=self._model)
        )

    def report(self, job_id: str, done: int, total: int) -> None:
        """Publish how far a job is."""
        event = json.dumps({"type": "job.progress", "id": job_id, "data": {"done": done, "total": total}})
        self._send(records.progress(self._keys, job_id, done=done, total=total, event=event))

    def finish(self, job_id: str, job: GenerationJob | None = None) -> str:
        """End a job."""
        result = self._result(job_id, job or GenerationJob(prompt="a test"))
        said = end_event(result, webhook=None, keys=self._keys)
        return self._send(
            attempt_records.finish(
                self._keys,
                job_id,
                claim=NO_LEASE,
                status=result.status,
                result=result.model_dump_json(),
                event=said.event,
                ttl_s=60,
                outgoing=said.outgoing,
            )
        )

    def _send(self, command: records.Command) -> Any:
        return self._redis.execute_command(*command)

    def _work(self) -> None:
        while not self._stop.is_set():
            taken = self._redis.brpop(self._lists, timeout=0.1)
            if taken is None:
                continue
            message = json.loads(taken[1])
            job = GenerationJob.parse(json.loads(message["body"])[1]["job"])
            job_id = message["headers"]["id"]
            if self.start(job_id)[0] == "started":
                steps = job.steps or 4
                for done in range(1, steps + 1):
                    self.report(job_id, done, steps)
                    self._stop.wait(0.01)
                self.finish(job_id, job)

    def _result(self, job_id: str, job: GenerationJob) -> JobResult:
        failed = job.prompt.startswith("fail")
        return JobResult(
            id=job_id,
            status=JobStatus.FAILED if failed else JobStatus.SUCCEEDED,
            error=JobError(code="generation_failed", message="It was asked to.", retryable=False) if failed else None,
            artifacts=() if failed else tuple(self._artifact(job_id, job, index) for index in range(job.num_images)),
            warnings=(WARNING,) if job.prompt.startswith("warn") else (),
            attempts=1,
            worker="fake@test",
            model=self._model,
            metadata=job.metadata,
            finished_at=datetime.now(UTC),
        )

    def _artifact(self, job_id: str, job: GenerationJob, index: int) -> Artifact:
        seed = (job.seed or 0) + index
        width, height = job.width or 64, job.height or 64
        digest = hashlib.sha256(f"{job.prompt} {seed}".encode()).digest()
        file = io.BytesIO()
        Image.linear_gradient("L").resize((width, height)).convert("RGB").point(
            [min(255, value * (digest[band] + 64) // 256) for band in range(3) for value in range(256)]
        ).save(file, job.format.value)
        name = f"{job_id}-{index}.{job.format}"
        if self._folder:
            (self._folder / name).write_bytes(file.getvalue())
        return Artifact(
            uri=f"s3://bucket/{job_id}/{index}.{job.format}",
            url=self._url_of(name) if job.presign and self._url_of else None,
            media_type=job.format.media_type,
            format=job.format,
            width=width,
            height=height,
            seed=seed,
            sha256=hashlib.sha256(file.getvalue()).hexdigest(),
            size_bytes=len(file.getvalue()),
        )
