"""The render counter: notes in a job's record which images are made again, although they were made before."""

from typing import Final

from imagefleet.store.keys import Keys
from imagefleet.store.scripts import load
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.queue.claims import LUA

_NOTE_RENDER: Final = load("note_render", folder=LUA)


class RenderCounter:
    """Counts in the field `renders_repeated`; first attempts at jobs cost no command."""

    def __init__(self, redis: RetryingRedis, *, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def images_wait(self, attempt: RunningAttempt) -> None:
        """Note that the images of *attempt* are made and wait for S3; its job is not on the device any more."""
        self._note(attempt, event="made")
        claim = attempt.claim
        self._redis.execute(("HDEL", self._keys.on_device(claim.owner), claim.token), attempt=attempt)

    def render_begins(self, attempt: RunningAttempt) -> None:
        """Count a render that begins, if images of the job were made before."""
        self._note(attempt, event="begins")

    def _note(self, attempt: RunningAttempt, *, event: str) -> None:
        self._redis.execute(_NOTE_RENDER(record=self._keys.job(attempt.job_id), event=event), attempt=attempt)
