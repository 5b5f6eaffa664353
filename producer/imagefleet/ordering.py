"""Ordering: results that come as jobs end, given on in the order in which the jobs were asked for."""

from collections.abc import Iterator, Sequence

from imagefleet.results import JobResult


class InOrder:
    """Keeps each result until all before it are there."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Wait for one result of each of *ids*."""
        self._waiting = iter(ids)
        self._next = next(self._waiting, None)
        self._early: dict[str, JobResult] = {}

    def add(self, result: JobResult) -> Iterator[JobResult]:
        """Take *result* and give on what is next in order now: nothing, it alone, or it and some that came early."""
        self._early[result.id] = result
        while self._next in self._early:
            yield self._early.pop(self._next)
            self._next = next(self._waiting, None)
