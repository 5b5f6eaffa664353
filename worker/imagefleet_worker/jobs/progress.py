"""Progress: publishes how far each running job is, at a bounded rate and outside the job's own thread."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from PIL import Image

from imagefleet.errors import reason_of
from imagefleet.store import records, webhook_queue
from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.progress_webhooks import MOST_WAITING, UpdateWebhooks
from imagefleet_worker.observability.metrics import Metrics

log = structlog.get_logger(__name__)

_JOIN_S: Final = 2.0

#: Gives a small picture; waits for the device.
Preview = Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class _Update:
    """The latest progress of a job."""

    done: int
    total: int
    webhooks: UpdateWebhooks
    preview: Preview | None = None
    #: Estimated seconds for the remaining steps.
    left_s: float | None = None


class ProgressPublisher:
    """Collects steps from all jobs and sends the latest of each, in one round trip, at most once per interval.

    Redis replies whether the job has been canceled, so a cancel is noticed even if the listener missed it.
    """

    def __init__(
        self, client: "redis.Redis", *, keys: Keys, interval_s: float, on_cancel: Callable[[str], None]
    ) -> None:
        self._client = client
        self._on_cancel = on_cancel
        self._keys = keys
        self._interval_s = interval_s
        self._latest: dict[str, _Update] = {}
        self._lock = threading.Lock()
        self._has_news = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Send, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        self._stopped.set()
        self._has_news.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_JOIN_S)

    def post(
        self,
        job_id: str,
        done: int,
        total: int,
        *,
        updates: UpdateWebhooks,
        preview: Preview | None = None,
        left_s: float | None = None,
    ) -> None:
        """Note that *job_id* has done *done* of *total* steps, for listeners and *updates*; does no I/O.

        A *preview* is waited for and encoded when it is sent: not in the thread that owns the device.
        """
        with self._lock:
            unsent = self._latest.get(job_id)
            latest = preview or (unsent.preview if unsent else None)
            self._latest[job_id] = _Update(done, total, updates, latest, left_s)
        self._has_news.set()

    def forget(self, job_id: str) -> None:
        """Send nothing more of *job_id*, whose attempt is over."""
        with self._lock:
            self._latest.pop(job_id, None)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._has_news.wait()
            self._has_news.clear()
            with self._lock:
                latest, self._latest = self._latest, {}
            try:
                self._send(latest)
            except redis.RedisError as error:  # the next step brings newer progress
                log.debug("progress not sent", error=reason_of(error))
            except Exception:  # any error: one bad picture must not end the progress of all jobs
                log.exception("progress not sent")
            self._stopped.wait(self._interval_s)

    def _send(self, latest: dict[str, _Update]) -> None:
        if not latest:
            return
        pipe = self._client.pipeline(transaction=False)
        asked: list[str] = []
        for job_id, update in latest.items():
            asked.append(job_id)
            pipe.execute_command(*self._command(job_id, update))
            if delivery := update.webhooks.progress(update.done, update.total):
                asked.append("")
                pipe.execute_command(*webhook_queue.push(self._keys, delivery, most=MOST_WAITING))
        for job_id, is_canceled in zip(asked, pipe.execute(), strict=True):
            if job_id and is_canceled:
                self._on_cancel(job_id)

    def _command(self, job_id: str, update: _Update) -> records.Command:
        preview = _as_json(update.preview()) if update.preview else None
        optional = {"left_s": update.left_s, "preview": preview}
        known = {name: value for name, value in optional.items() if value is not None}
        data = {"done": update.done, "total": update.total, **known}
        return records.progress(
            self._keys,
            job_id,
            done=update.done,
            total=update.total,
            event=json.dumps({"type": "job.progress", "id": job_id, "data": data}),
            preview=json.dumps(preview) if preview else "",
            left_s=update.left_s,
        )


class AttemptProgress:
    """Reports the steps and previews of one attempt at *job_id*."""

    def __init__(
        self,
        job_id: str,
        *,
        publisher: ProgressPublisher,
        metrics: Metrics,
        updates: UpdateWebhooks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id = job_id
        self._publisher = publisher
        self._metrics = metrics
        self._updates = updates
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._steps = (0, 0)
        self._left_s: float | None = None

    def step(self, done: int, total: int) -> None:
        """Report that *done* of *total* steps are done."""
        self._metrics.stepped()
        self._steps, self._left_s = (done, total), self._estimate_s(done, total)
        self._publisher.post(self._job_id, done, total, updates=self._updates, left_s=self._left_s)

    def preview(self, preview: Preview) -> None:
        """Report a preview of the step that was reported last."""
        self._publisher.post(self._job_id, *self._steps, updates=self._updates, preview=preview, left_s=self._left_s)

    def end(self) -> None:
        """Report nothing more: what has not been sent would come after the end of the attempt."""
        self._publisher.forget(self._job_id)

    def _estimate_s(self, done: int, total: int) -> float | None:
        """Seconds for the remaining steps, at the rate since the first; None at the first, which has no rate yet."""
        if done >= total:
            return 0.0
        now = self._clock()
        if self._first is None or done <= self._first[0]:
            self._first = (done, now)
            return None
        steps, seconds = done - self._first[0], now - self._first[1]
        return round((total - done) * seconds / steps, 3)


def _as_json(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=60, method=0)
    data = base64.b64encode(file.getvalue()).decode()
    return {"media_type": "image/webp", "width": image.width, "height": image.height, "data": data}
