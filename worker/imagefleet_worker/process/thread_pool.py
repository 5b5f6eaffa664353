"""The thread pool: Celery's own, whose number of threads can change while it runs.

`inspect` and `control` answer while a job has the device, because it runs in a thread and not in Celery's loop.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.concurrency.thread import TaskPool


class ThreadPool(TaskPool):
    """Celery's pool of threads, for `pool_grow` and `pool_shrink`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replaced: list[ThreadPoolExecutor] = []

    def grow(self, n: int) -> None:
        """Use *n* threads more."""
        self._resize(self.limit + n)

    def shrink(self, n: int) -> None:
        """Use *n* threads less; running tasks go on.

        Raises:
            ValueError: If none would be left.
        """
        if n >= self.limit:
            raise ValueError(f"the pool has {self.limit} threads, and one must stay")
        self._resize(self.limit - n)

    def on_stop(self) -> None:
        """Wait for the running tasks."""
        for executor in self._replaced:
            executor.shutdown(cancel_futures=True)
        super().on_stop()

    def _resize(self, limit: int) -> None:
        """Replace the executor, which cannot be resized; the old one ends when its tasks have ended."""
        self.limit = limit
        self._replaced.append(self.executor)
        self.executor.shutdown(wait=False)
        self.executor = ThreadPoolExecutor(max_workers=limit)
