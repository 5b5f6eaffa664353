"""Progress: how far each running job is, told over Redis at a bounded rate and off the job's own path."""

import json
import threading
from typing import NamedTuple

import redis
import structlog

from imagefleet import deliveries, records
from imagefleet.queues import Keys
from imagefleet_worker.updates import MOST_WAITING, Updates

log = structlog.get_logger(__name__)


class _News(NamedTuple):
    done: int
    total: int
    updates: Updates


class ProgressBoard:
    """Collects steps from all jobs and sends the latest of each, in one round trip, at most once per interval."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, interval_s: float) -> None:
        self._client = client
        self._keys = keys
        self._interval_s = interval_s
        self._latest: dict[str, _News] = {}
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def note(self, job_id: str, done: int, total: int, *, updates: Updates) -> None:
        """Note that *done* of *total* steps are behind *job_id*, for listeners and *updates*; costs no I/O."""
        self._latest[job_id] = _News(done, total, updates)
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
            latest, self._latest = self._latest, {}
            try:
                self._send(latest)
            except redis.RedisError as error:  # the next step brings newer news
                log.debug("progress not sent", error=str(error))
            self._stopped.wait(self._interval_s)

    def _send(self, latest: "dict[str, _News]") -> None:
        if not latest:
            return
        pipe = self._client.pipeline(transaction=False)
        for job_id, (done, total, updates) in latest.items():
            event = json.dumps({"type": "job.progress", "id": job_id, "data": {"done": done, "total": total}})
            pipe.execute_command(*records.progress(self._keys, job_id, done=done, total=total, event=event))
            if delivery := updates.progress(done, total):
                pipe.execute_command(*deliveries.push(self._keys, delivery, most=MOST_WAITING))
        pipe.execute()
