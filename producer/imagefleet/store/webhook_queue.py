"""The webhook queue: deliveries that wait, that are postponed, and that have failed.

As in `imagefleet.store.records`, each function returns a command.
"""

from typing import Final

from imagefleet.contract.queues import DELIVER_TASK
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

_PUSH: Final = load("push_delivery")
_FIND_POSTPONED: Final = load("find_postponed")
_FIND_FAILED: Final = load("find_failed")
_RETRY_NOW: Final = load("retry_now")

#: Entries that one script looks at, so that Redis is not kept busy.
PAGE: Final = 1000


def push(keys: Keys, message: str, *, most: int = 0) -> Command:
    """Queue the delivery *message*, unless *most* wait already (0: no limit). Replies 1, or 0."""
    return _PUSH(deliveries=keys.deliveries, most=most, message=message)


def postponed(keys: Keys, *, text: str = "", count: int, start: int) -> Command:
    """Deliveries that wait for the time of their next try and contain *text*, among `PAGE` entries from *start* on.

    Replies `[messages looked at, [due in seconds since 1970, entry, ...]]`; an entry is JSON `[list, message]`.
    """
    return _FIND_POSTPONED(delayed=keys.delayed, list=keys.deliveries, text=text, count=count, start=start, page=PAGE)


def failed(keys: Keys, *, text: str = "", count: int) -> Command:
    """The newest *count* dead letters that are deliveries and contain *text*, as JSON."""
    mark = f'"task":"{DELIVER_TASK}"'
    return _FIND_FAILED(letters=keys.dead, index=keys.dead_index, mark=mark, text=text, count=count)


def retry_now(keys: Keys, entry: str) -> Command:
    """Queue the postponed *entry* now. Replies 1, or 0 if it is not there any more."""
    return _RETRY_NOW(delayed=keys.delayed, entry=entry)
