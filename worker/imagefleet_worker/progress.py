"""Progress: how far each running job is, told over Redis at a bounded rate and off the job's own path."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from PIL import Image

from imagefleet import deliveries, notes
from imagefleet.queues import Keys
from imagefleet_worker.metrics import Metrics
from imagefleet_worker.updates import MOST_WAITING, Updates

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _News:
    """What there is to tell of a job."""

    done: int
    total: int
    updates: Updates
    preview: Image.Image | None = None
    #: Seconds that the other steps should take.
    left_s: float | None = None


class ProgressBoard:
    """Collects steps from all jobs and sends the latest of each, in one round trip, at most once per interval.

    Redis answers whether the job has been canceled: so that is noticed also where its listener was not told.
    """

    def __init__(
        self, client: "redis.Redis", *, keys: Keys, interval_s: float, on_cancel: Callable[[str], None]
    ) -> None:
        self._client = client
        self._on_cancel = on_cancel
        self._keys = keys
        self._interval_s = interval_s
        self._latest: dict[str, _News] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def note(
        self,
        job_id: str,
        done: int,
        total: int,
        *,
        updates: Updates,
        preview: Image.Image | None = None,
        left_s: float | None = None,
    ) -> None:
        """Note that *done* of *total* steps are behind *job_id*, for listeners and *updates*; costs no I/O.

        A *preview* is encoded when it is sent, and not in the job's own thread.
        """
        with self._lock:
            unsent = self._latest.get(job_id)
            picture = preview or (unsent.preview if unsent else None)
            self._latest[job_id] = _News(done, total, updates, picture, left_s)
        self._news.set()

    def close(self) -> None:
        """Stop sending."""
        self._stopped.set()
        self._news.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._news.wait()
            self._news.clear()
            with self._lock:
                latest, self._latest = self._latest, {}
            try:
                self._send(latest)
            except redis.RedisError as error:  # the next step brings newer news
                log.debug("progress not sent", error=str(error))
            except Exception:  # whatever one picture does, the others' news are told
                log.exception("progress not sent")
            self._stopped.wait(self._interval_s)

    def _send(self, latest: dict[str, _News]) -> None:
        if not latest:
            return
        pipe = self._client.pipeline(transaction=False)
        asked: list[str] = []
        for job_id, news in latest.items():
            preview = _as_json(news.preview) if news.preview else None
            optional = {"left_s": news.left_s, "preview": preview}
            known = {name: value for name, value in optional.items() if value is not None}
            data = {"done": news.done, "total": news.total, **known}
            event = json.dumps({"type": "job.progress", "id": job_id, "data": data})
            asked.append(job_id)
            pipe.execute_command(
                *notes.progress(
                    self._keys,
                    job_id,
                    done=news.done,
                    total=news.total,
                    event=event,
                    preview=json.dumps(preview) if preview else "",
                    left_s=news.left_s,
                )
            )
            if delivery := news.updates.progress(news.done, news.total):
                asked.append("")
                pipe.execute_command(*deliveries.push(self._keys, delivery, most=MOST_WAITING))
        for job_id, is_canceled in zip(asked, pipe.execute(), strict=True):
            if job_id and is_canceled:
                self._on_cancel(job_id)


class Reporter:
    """Tells of one attempt at *job_id*."""

    def __init__(
        self,
        job_id: str,
        *,
        board: ProgressBoard,
        metrics: Metrics,
        updates: Updates,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id = job_id
        self._board = board
        self._metrics = metrics
        self._updates = updates
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._steps = (0, 0)
        self._left_s: float | None = None

    def step(self, done: int, total: int) -> None:
        """A step is done."""
        self._metrics.stepped()
        self._steps, self._left_s = (done, total), self._left(done, total)
        self._board.note(self._job_id, done, total, updates=self._updates, left_s=self._left_s)

    def preview(self, image: Image.Image) -> None:
        """There is a preview of the step that was told last."""
        self._board.note(self._job_id, *self._steps, updates=self._updates, preview=image, left_s=self._left_s)

    def _left(self, done: int, total: int) -> float | None:
        """Seconds for the other steps, at the pace since the first; None with the first, which says nothing of it."""
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
