"""Leases: the messages that this process holds, for as long as it lives.

A thread renews the leases. So a job may take any time, and the jobs of a dead worker still go to other workers within
the duration of a lease.
"""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis

from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.claims import Claimed, StartedAttempt
from imagefleet_worker.queue.deferred_commands import DeferredCommands
from imagefleet_worker.queue.device_entries import DeviceEntries
from imagefleet_worker.queue.held_messages import HeldMessages
from imagefleet_worker.queue.lease_thread import LeaseThread
from imagefleet_worker.queue.redelivery import Redelivery, as_redelivered

#: The longest wait for a claim that Redis is about to make, in seconds.
_CLAIM_S: Final = 2.0


class Leases:
    """All claims of this process; safe to use from many threads."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        keys: Keys,
        duration_s: float,
        ended_ttl_s: int = claims.DEFAULT_ENDED_TTL_S,
        tenant_jobs: int = 0,
        loss_window_s: float = 21_600,
        worker: str = "",
        listener: ClaimListener = ClaimListener(),  # noqa: B008  # it has no state
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Tell *listener* of every change of what is held, and call *wake* if the loop should claim again.

        Jobs are marked as running by *worker* when they are claimed; without a name they are marked later.
        """
        self.owner = uuid.uuid4().hex
        #: Whether the last claim left messages of tenants that have as many running jobs as they may.
        self.is_capped = False
        self._worker = worker
        self._client = client
        self._keys = keys
        self._duration_s = duration_s
        self._ended_ttl_s = ended_ttl_s
        self._tenant_jobs = tenant_jobs
        self._held = HeldMessages(listener=listener, wake=wake)
        self.device_entries = DeviceEntries(client, keys=keys, owner=self.owner, worker=worker)
        self.redelivery = Redelivery(client, keys=keys, owner=self.owner, duration_s=duration_s, window_s=loss_window_s)
        self._backlog = DeferredCommands(client)
        self.thread = LeaseThread(
            client,
            keys=keys,
            owner=self.owner,
            duration_s=duration_s,
            held=self._held,
            backlog=self._backlog,
            redelivery=self.redelivery,
            listener=listener,
            wake=wake,
        )
        self._pending = ""
        #: Held by whoever gives messages back: two at once would mix their order. A signal handler may interrupt one.
        self._giving_back = threading.RLock()
        #: By token, messages that are not held any more, and that Redis may not have back yet; empty: as they were.
        self._returning: dict[str, str] = {}

    def claim(self, queues: list[str]) -> Claimed | None:
        """Claim the next message of *queues*, or None if there is none, or after `stop_claiming`.

        Raises:
            redis.RedisError: if Redis cannot be reached.
        """
        self.thread.start()
        while True:
            token = self._pending or uuid.uuid4().hex
            if not self._held.claiming(token):
                return None
            command = claims.claim(
                self._keys,
                queues=queues,
                token=token,
                owner=self.owner,
                duration_s=self._duration_s,
                ended_ttl_s=self._ended_ttl_s,
                tenant_jobs=self._tenant_jobs,
                worker=self._worker,
            )
            try:
                found: Any = self._client.execute_command(*command)
            except redis.RedisError:
                self._held.forget(token)
                self._pending = token  # Redis may have made the claim
                raise
            self._pending = ""
            self.is_capped = bool(found) and not found[0] and not found[2]
            if found and found[0]:
                claimed = claims.read(token, found)
                self._held.claimed(claimed, owner=self.owner)
                return claimed
            self._held.forget(token)
            if not found or self.is_capped:
                return None

    def note_job(self, token: str, job_id: str) -> bool:
        """Record the job of *token*, whose cancel renewals report; false if it must go back: this process drains."""
        return self._held.note_job(token, job_id)

    def note_begun(self, token: str) -> None:
        """Record that a thread runs the task of *token*: `give_back_waiting` leaves it alone."""
        self._held.note_begun(token)

    def started(self, token: str) -> StartedAttempt | None:
        """The attempt that started as *token* was claimed; None if none has."""
        return self._held.started(token)

    def claim_for(self, token: str) -> Claim:
        """The claim of *token*, with which this process proves that it holds the message; void if it does not."""
        return Claim(token, self.owner) if self.is_held(token) else Claim(token or "none", "nobody")

    def is_held(self, token: str) -> bool:
        """Whether *token* is this process's, as far as it knows."""
        return token in self._held

    def count(self) -> int:
        """Number of messages that this process holds."""
        return len(self._held)

    def will_end(self, token: str) -> None:
        """Record that a command is about to end the claim: it is not lost if a renewal does not find it."""
        self._held.note_ending(token)

    def has_ended(self, token: str) -> None:
        """Record that such a command has ended the claim: nothing is left to acknowledge."""
        self._held.forget(token)

    def is_full(self, most: int) -> bool:
        """Whether *most* messages are held; if so, the loop is woken as soon as one of them ends."""
        return self._held.is_full(most)

    def ack(self, token: str) -> None:
        """End the claim, later if Redis cannot be reached. Nothing happens if it is not held."""
        if self._held.forget(token):
            self._backlog.send(claims.acknowledge(self._keys, token=token, owner=self.owner))

    def leave(self, token: str) -> None:
        """Hold *token* no more, and tell Redis nothing: if it is still this process's, its lease runs out."""
        self._held.forget(token)

    def give_back(self, token: str, *, message: str = "") -> None:
        """Put the message, or *message* in its place, back to the front of its list; this is no redelivery."""
        self.give_back_in_order([token], message=message)

    def requeue(self, token: str) -> None:
        """As `give_back`, for a message whose task has run: the next worker's task knows it as redelivered."""
        if not self.is_held(token):
            return
        try:
            message = str(self._client.hget(self._keys.claims, token) or "")
        except redis.RedisError:  # it goes back later, as it is
            message = ""
        self.give_back(token, message=as_redelivered(message))

    def postpone(self, token: str, *, due_in_s: float, message: str = "") -> None:
        """Let the message, or *message* in its place, wait for *due_in_s* seconds outside of its list."""
        if self._held.forget(token):
            command = claims.postpone(self._keys, token=token, owner=self.owner, due_in_s=due_in_s, message=message)
            self._backlog.send(command)

    def give_back_all(self, *, on_taken: Callable[[], None] = lambda: None) -> int:
        """Put back all messages, before the process ends, and return their number.

        *on_taken* is called when nothing that a job does can end its claim any more: now its thread may hear of it.
        """
        with self._giving_back:
            for token in reversed([*self._returning]):  # of whom this call in a signal handler interrupts
                self._return(token)
            count = self.give_back_in_order(self._held.tokens(), on_taken=on_taken)
        with contextlib.suppress(redis.RedisError):
            self._backlog.catch_up()
        return count

    def ends_sent(self) -> int:
        """How many ends of claims Redis has taken."""
        return self._backlog.sent

    def ends_unsent(self) -> int:
        """How many it has not taken yet."""
        return len(self._backlog) + len(self._returning)

    def give_back_waiting(self) -> int:
        """Put back the messages whose tasks no thread runs, before the process ends, and return their number."""
        return self.give_back_in_order(self._held.take_waiting(_CLAIM_S))

    def give_back_in_order(
        self, tokens: Iterable[str], *, message: str = "", on_taken: Callable[[], None] = lambda: None
    ) -> int:
        """Put back the messages of *tokens*, so that the first one comes first again, and return their number."""
        with self._giving_back:
            taken = [token for token in tokens if self._take(token, message)]
            on_taken()
            for token in reversed(taken):  # each goes to the front
                self._return(token)
        return len(taken)

    def _take(self, token: str, message: str) -> bool:
        """Hold *token* no more, so that nobody acknowledges it; false if it has ended."""
        self._returning[token] = message  # first: between the two, a signal handler would find it nowhere
        if self._held.forget(token):
            return True
        del self._returning[token]
        return False

    def _return(self, token: str) -> None:
        message = self._returning.get(token, "")
        self._backlog.send(claims.give_back(self._keys, token=token, owner=self.owner, message=message))
        self._returning.pop(token, None)

    def begun(self) -> int:
        """The number of messages whose tasks a thread runs."""
        return self._held.begun()

    def not_begun(self, *, for_s: float) -> list[str]:
        """The tokens of messages that Celery was given *for_s* seconds ago or more, and whose tasks no thread runs."""
        return self._held.waiting_tokens(for_s=for_s)

    @property
    def is_claiming(self) -> bool:
        """False after `stop_claiming`."""
        return self._held.is_claiming

    def stop_claiming(self) -> None:
        """Let no new claim begin. The process keeps the messages that it holds, and a claim on its way is one."""
        self._held.stop_claiming()

    def close(self) -> None:
        """Stop renewing. Other workers take over the held messages when the leases run out."""
        self.thread.close()
