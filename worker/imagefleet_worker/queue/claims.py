"""Claims: each change of who holds a message is one script, so that a message is never lost and never in two places.

As in `imagefleet.store.records`, each function returns a command; `lua/lib/claim.lua` says what a claim is. A script
that ends or renews a claim does nothing if another process holds it by now.

Scripts that write begin with a removal: a Redis whose memory is full refuses a script at its first write if that could
grow, and lets it finish once it has written. So a full Redis stops producers, not the workers that would empty it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from imagefleet.contract.queues import GENERATE_TASK
from imagefleet.store.keys import Keys
from imagefleet.store.records import PENDING_TTL_S
from imagefleet.store.scripts import Command, load

#: The scripts of this room.
LUA: Final = Path(__file__).with_name("lua")

_CLAIM: Final = load("claim", folder=LUA)
_RENEW: Final = load("renew", folder=LUA)
_ACKNOWLEDGE: Final = load("acknowledge", folder=LUA)
_GIVE_BACK: Final = load("give_back", folder=LUA)
_POSTPONE: Final = load("postpone", folder=LUA)
_TAKE_OVER: Final = load("take_over", folder=LUA)
_PROMOTE: Final = load("promote", folder=LUA)

#: Messages that one claim may drop, or let wait for their time, on its way to a live one.
_MOST_DROPPED: Final = 1000
#: Messages that one script moves.
AT_ONCE: Final = 100
#: How long the record of a canceled job stays once its message is gone.
DEFAULT_ENDED_TTL_S: Final = 21_600


class StartedAttempt(NamedTuple):
    """An attempt that started as its message was claimed."""

    attempts: int
    queued_s: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is this process's now."""

    token: str
    list_key: str
    message: str
    #: Whether another claim may find something.
    is_more: bool = True
    #: None if no attempt has started: `attempt_records.start` does it later, or the message is no job.
    started: StartedAttempt | None = None


def keys_of_claims(keys: Keys) -> dict[str, str]:
    """The keys of all claims, by the names that scripts give them; `lua/lib/claim.lua` says what a claim is."""
    return {
        "leases": keys.leases,
        "claims": keys.claims,
        "owners": keys.owners,
        "origins": keys.origins,
        "tenants": keys.tenants,
        "tenants_running": keys.tenants_running,
    }


def ends_of_claims(keys: Keys) -> dict[str, str]:
    """As `keys_of_claims`, with the prefix that scripts need which end a claim."""
    return {**keys_of_claims(keys), "on_device": keys.on_device("")}


def claim(
    keys: Keys,
    *,
    queues: Sequence[str],
    token: str,
    owner: str,
    duration_s: float,
    ended_ttl_s: int = DEFAULT_ENDED_TTL_S,
    tenant_jobs: int = 0,
    worker: str = "",
) -> Command:
    """Take the most urgent, then oldest message of *queues*; where it is a client's job, it begins to run on *worker*.

    Replies `[list, message, more]`, or nil; list and message empty: ask again; *more* is 0 where nothing else waits.
    For a job that has begun come also the number of the attempt and the seconds that it was queued.

    Sent again with the same *token* it replies the same: a reply may be lost, a message never.
    """
    by_level = zip(*(keys.lists(queue) for queue in queues), strict=True)
    return _CLAIM(
        **keys_of_claims(keys),
        delayed=keys.delayed,
        lists=chain.from_iterable(by_level),
        token=token,
        owner=owner,
        duration_s=duration_s,
        records=keys.job(""),
        most_dropped=_MOST_DROPPED,
        dropped_ttl_s=ended_ttl_s,
        tenant_jobs=tenant_jobs,
        worker=worker,
        record_ttl_s=PENDING_TTL_S,
        job_task=GENERATE_TASK,
    )


def read(token: str, reply: Sequence[Any]) -> Claimed:
    """What a claim of *token* has got: the reply of `claim`, where it names a list."""
    list_key, message, is_more, *run = reply
    started = StartedAttempt(int(run[0]), max(float(run[1]), 0.0)) if run else None
    return Claimed(token, list_key, message, is_more=bool(is_more), started=started)


def renew(keys: Keys, *, owner: str, duration_s: float, jobs_by_token: dict[str, str]) -> Command:
    """Renew leases. Replies `[tokens that are another's by now, ids of held jobs that somebody canceled]`."""
    return _RENEW(
        leases=keys.leases,
        owners=keys.owners,
        owner=owner,
        duration_s=duration_s,
        records=keys.job(""),
        claims=chain.from_iterable(jobs_by_token.items()),
    )


def acknowledge(keys: Keys, *, token: str, owner: str) -> Command:
    """End a claim and its message. Replies 1, or 0 where it is another's by now."""
    return _ACKNOWLEDGE(**ends_of_claims(keys), token=token, owner=owner)


def give_back(keys: Keys, *, token: str, owner: str, message: str = "") -> Command:
    """End a claim and put its message, or *message* in its place, first in its list. Replies 1, or 0 as above."""
    return _GIVE_BACK(**ends_of_claims(keys), token=token, owner=owner, changed=message, records=keys.job(""))


def postpone(keys: Keys, *, token: str, owner: str, due_in_s: float, message: str = "") -> Command:
    """End a claim and let its message, or *message* in its place, wait outside of the list. Replies as above."""
    return _POSTPONE(
        **ends_of_claims(keys),
        delayed=keys.delayed,
        token=token,
        owner=owner,
        changed=message,
        due_in_s=due_in_s,
        records=keys.job(""),
    )


def take_over(keys: Keys, *, owner: str, duration_s: float) -> Command:
    """Become the owner of claims whose lease has run out. Replies `[token, message, loss, token, ...]`.

    A *loss* is empty if the job was not on a device, else what is known of its worker (`lost_workers`).
    """
    return _TAKE_OVER(
        leases=keys.leases,
        claims=keys.claims,
        owners=keys.owners,
        owner=owner,
        duration_s=duration_s,
        count=AT_ONCE,
        on_device=keys.on_device(""),
        records=keys.job(""),
    )


def promote(keys: Keys) -> Command:
    """Put messages whose time has come into their lists. Replies `[number, seconds until the next is due or empty]`."""
    return _PROMOTE(delayed=keys.delayed, count=AT_ONCE)
