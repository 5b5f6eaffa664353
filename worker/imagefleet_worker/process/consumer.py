"""The consumer: Celery's own, whose rate limits hold messages only for as long as it can keep their leases.

Celery keeps a message that must wait for its rate in memory. So a new rate must reach the messages that wait, they are
not on their way to the device, and they go back to their list when the connection breaks or the worker ends.

Names with an underscore are Celery's, and not promised, so it is pinned to one series.
"""

from collections import deque
from typing import Any

from celery.worker.consumer.consumer import Consumer
from kombu.utils.limits import TokenBucket

from imagefleet_worker.process.current import current


def token_of(request: Any) -> str:
    """The token of the claim under which the message of *request* is held."""
    return str((request.message.properties or {}).get("delivery_tag", ""))


class RateBucket(TokenBucket):
    """The messages of one task that wait for its rate."""

    contents: deque[tuple[Any, int]]

    def clear_pending(self) -> None:
        """Give back all of them: Celery is about to forget them."""
        current().leases.give_back_in_order(token_of(request) for request, _ in self.contents)
        super().clear_pending()


class RateLimitedConsumer(Consumer):
    """Celery's consumer, for the leases of this process."""

    task_buckets: dict[str, RateBucket | None]

    def bucket_for_task(self, type: Any) -> RateBucket | None:  # noqa: A002  # Celery's name
        """A bucket for the rate of the task *type*; None without a rate."""
        bucket = super().bucket_for_task(type)
        return RateBucket(bucket.fill_rate, capacity=bucket.capacity) if bucket else None

    def reset_rate_limits(self) -> None:
        """Apply the rates of all tasks, also to the messages that wait."""
        before = dict(self.task_buckets)
        super().reset_rate_limits()
        for name, bucket in before.items():
            self._move(bucket, self.task_buckets[name])

    def _move(self, bucket: RateBucket | None, new: RateBucket | None) -> None:
        waiting = list(bucket.contents) if bucket else []
        if bucket:
            bucket.contents.clear()
        for request, tokens in waiting:
            if new:
                self._limit_task(request, new, tokens)
            else:
                self._limit_move_to_pool(request)

    def _limit_task(self, request: Any, bucket: TokenBucket, tokens: int) -> Any:
        current().attempts.wait_for_rate(token_of(request), waits=True)
        return super()._limit_task(request, bucket, tokens)  # type: ignore[misc]  # not in its stubs

    def _limit_move_to_pool(self, request: Any) -> None:
        current().attempts.wait_for_rate(token_of(request), waits=False)
        super()._limit_move_to_pool(request)  # type: ignore[misc]  # not in its stubs
