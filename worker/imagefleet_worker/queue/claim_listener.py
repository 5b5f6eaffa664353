"""The claim listener: what is notified when a claim of this process ends or is lost."""

from imagefleet.store.records import Claim


class ClaimListener:
    """Told of every change of what the process holds, from any thread; this one does nothing."""

    def claimed(self, claim: Claim, *, concurrency_limit: int | None = None) -> None:
        """The process holds one more message, whose job may share a device with one less than *concurrency_limit*."""

    def released(self, token: str) -> None:
        """The process does not hold that message any more."""

    def mark_lost(self, token: str) -> None:
        """Another process holds that message by now."""

    def cancel(self, job_id: str) -> None:
        """Somebody canceled a job whose message is held."""
