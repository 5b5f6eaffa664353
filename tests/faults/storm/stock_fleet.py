"""The same jobs on stock Celery, set up against losses as its documentation has it, to compare with.

    celery -A tests.faults.storm.stock_fleet worker -P threads

is a worker: acks_late, reject_on_worker_lost, visibility_timeout equal to our lease. Its task renders with the same
engine, uploads with the same storage and writes no manifest; S3 errors are retried by Celery's `autoretry_for`. Each
run leaves one line when it starts and one when it has ended in the file that STOCK_LOG names.
"""

import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celery import Celery, signals

from imagefleet import GenerationJob
from imagefleet.contract.jobs import to_wire
from imagefleet_worker.errors import StorageUnavailable
from imagefleet_worker.supervision.child_process import ChildProcess

if TYPE_CHECKING:
    from tests.faults.storm.jobs import Pixels
    from tests.support.fleet.fleet import Fleet

_CONCURRENCY = "24"  # as our workers have it
_RETRIES = 8
#: Stock Celery overwrites what an earlier run of a job has stored.
_ATTEMPT = "stock"


def configure(app: Celery, *, url: str, visibility_timeout_s: float) -> None:
    """Tell *app* where Redis is, and everything that stock Celery offers against losses."""
    app.conf.update(
        broker_url=url,
        result_backend=url,
        broker_transport_options={"visibility_timeout": visibility_timeout_s},
        task_default_queue="stock",
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_backend_always_retry=True,
    )


app = Celery("stock", set_as_current=False)
configure(
    app,
    url=os.environ.get("STOCK_REDIS_URL", "redis://127.0.0.1:6379/0"),
    visibility_timeout_s=float(os.environ.get("STOCK_VISIBILITY_S", "5")),
)


class _Studio:
    """What a stock worker opens before its first task."""

    def __init__(self) -> None:
        from imagefleet_worker.diffusion.engine import Engine  # noqa: PLC0415  # the sender of jobs needs no torch
        from imagefleet_worker.settings import settings  # noqa: PLC0415
        from imagefleet_worker.storage.bucket import Storage  # noqa: PLC0415

        self.settings = settings()
        self.engine = Engine.load(self.settings.model, self.settings.engine)
        self.engine.warm_up()
        self.storage = Storage(self.settings.storage)


_studio: _Studio | None = None


@signals.worker_init.connect
def _open(**_: Any) -> None:
    global _studio  # noqa: PLW0603  # a process has one
    _studio = _Studio()


@app.task(bind=True, name="stock.generate", autoretry_for=(StorageUnavailable,), retry_backoff=1, max_retries=_RETRIES)
def generate(self: Any, job: dict[str, Any]) -> str:
    """Render one job, store its image and return where it lies."""
    from imagefleet_worker.storage.image_files import encode_image  # noqa: PLC0415

    if _studio is None:
        raise RuntimeError("the worker has not been opened")
    job_id, run = str(self.request.id), uuid.uuid4().hex
    _log("start", job_id, run)
    checked = _studio.engine.check(GenerationJob.parse(job))
    seed = checked.seed or 0
    (image,) = _studio.engine.render(checked, seed=seed, on_step=lambda _done, _total: None)
    file = encode_image(
        image, format=checked.format, quality=None, seed=seed, parameters={}, settings=_studio.settings.encoding
    )
    artifact = _studio.storage.artifact_for(job_id, 0, file, attempt=_ATTEMPT)
    _studio.storage.upload(artifact, file.data, parameters={})
    _log("end", job_id, run)
    return artifact.uri


def _log(*words: str) -> None:
    line = " ".join((*words, str(os.getpid()), f"{time.monotonic():.3f}")) + "\n"
    descriptor = os.open(os.environ["STOCK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())  # one write of one line: appended whole, by whichever process
    finally:
        os.close(descriptor)


class StockFleet:
    """The storm's view of stock Celery."""

    #: Stock Celery looks for what nobody acknowledged every 100 s: who waits less cannot call a message lost.
    patience_s = 150.0

    def __init__(self, fleet: "Fleet", *, lease_s: float, seed: int) -> None:
        self._fleet = fleet
        self._log = fleet.folder / "runs.log"
        self._log.touch()
        self._env = {
            "STOCK_REDIS_URL": fleet.redis_url,
            "STOCK_VISIBILITY_S": f"{lease_s:g}",
            "STOCK_LOG": str(self._log),
        }
        configure(app, url=fleet.redis_url, visibility_timeout_s=lease_s)
        self._chance = random.Random(seed)
        self._pids: dict[str, int] = {}
        self._seeds: dict[str, int] = {}

    def start_worker(self, name: str) -> ChildProcess:
        """Start a worker."""
        options = ("-P", "threads", "-c", _CONCURRENCY, "--loglevel", "INFO")
        child = self._fleet.start(name, env=self._env, options=options, app="tests.faults.storm.stock_fleet")
        self._pids[name] = child.pid
        return child

    def submit(self, jobs: list[GenerationJob]) -> None:
        """Queue *jobs*, each fifth with a countdown."""
        for number, job in enumerate(jobs):
            wire = {name: value for name, value in to_wire(job).items() if name != "webhook"}
            countdown = None if number % 5 else self._chance.uniform(0.5, 5)
            self._seeds[str(generate.apply_async((wire,), countdown=countdown).id)] = job.seed or 0

    def ended(self) -> int:
        """How many jobs have been made at least once."""
        return len({job_id for kind, job_id, *_ in self._runs() if kind == "end"})

    def held_by(self, worker: str) -> list[Hashable]:
        """The runs that the worker of that name had begun and not ended."""
        pid = self._pids[worker]
        runs = self._runs()
        done = {run for kind, _, run, _, _ in runs if kind == "end"}
        return [
            (job_id, moment)
            for kind, job_id, run, who, moment in runs
            if kind == "start" and who == pid and run not in done
        ]

    def released(self, claims: list[Hashable]) -> Iterable[Hashable]:
        """Which of *claims* have been begun again by anybody."""
        latest = {job_id: moment for kind, job_id, _, _, moment in self._runs() if kind == "start"}
        return [claim for claim in claims if isinstance(claim, tuple) and latest[claim[0]] > claim[1]]

    def is_idle(self) -> bool:
        """Whether no message is left in Redis."""
        with self._fleet.raw() as raw:
            return not raw.hlen("unacked") and not raw.llen("stock")

    def connect_anew(self) -> None:
        """Let the producer leave its connections to the old primary."""
        app.close()

    def count(self, expected: "Mapping[int, Pixels]") -> dict[str, Any]:
        """What is left behind, in the words of the issue as far as stock Celery has them."""
        from tests.faults.storm.jobs import is_wrong  # noqa: PLC0415  # its workers need none of it

        stored = {job_id: file for job_id in self._seeds if (file := self._file(job_id)) is not None}
        runs = Counter(job_id for kind, job_id, *_ in self._runs() if kind == "end")
        states = Counter(app.AsyncResult(job_id).state for job_id in self._seeds)
        return {
            "lost": len(self._seeds) - len(stored),
            "without_success": len(self._seeds) - states["SUCCESS"],
            "duplicate_results": sum(runs.values()) - len(runs),
            "wrong_images": sum(
                is_wrong(file, seed=self._seeds[job_id], expected=expected) for job_id, file in stored.items()
            ),
            "starts_beyond_one": sum(1 for kind, *_ in self._runs() if kind == "start") - len(self._seeds),
            "states": dict(states),
        }

    def close(self) -> None:
        """Close the connections of the app."""
        app.close()

    def _file(self, job_id: str) -> bytes | None:
        s3 = self._fleet.s3
        try:
            return s3.client.get_object(Bucket=s3.bucket, Key=f"images/{job_id}/0-{_ATTEMPT}.png")["Body"].read()
        except s3.client.exceptions.NoSuchKey:
            return None

    def _runs(self) -> list[tuple[str, str, str, int, float]]:
        """Every line of the workers: kind, job, run, process, moment."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [(kind, job_id, run, int(pid), float(moment)) for kind, job_id, run, pid, moment in lines]
