"""One run of the fuzz: a fleet of two workers, the messages, and the count."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from kombu.utils.json import loads
from tests.faults.fuzz.messages import JOB, QUEUE, encode
from tests.faults.fuzz.mutations import Mutator
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import JobStatus
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.message_check import MalformedMessage, OldProtocol, parse_message

_KEYS: Final = Keys()
#: Seconds without any change, several leases, after which nothing more will happen.
_PATIENCE_S: Final = 20.0
_LIMITS: Final = {
    "IMAGEFLEET_LIMIT_MAX_STEPS": "4",
    "IMAGEFLEET_LIMIT_MAX_IMAGES": "2",
    "IMAGEFLEET_LIMIT_MAX_PIXELS": "16384",
    "IMAGEFLEET_LEASE_MAX_DEAD_LETTERS": "100000",
}


@dataclass(frozen=True)
class Outcome:
    """What became of the messages."""

    good: int
    good_failed: int
    unaccounted: list[str]
    held: int
    workers_died: int

    def counts(self) -> dict[str, int]:
        """The numbers."""
        return {**vars(self), "unaccounted": len(self.unaccounted)}


def fuzz(folder: Path, *, messages: int, good: int, seed: int) -> Outcome:
    """Push *messages* mutated messages and *good* jobs among them, and count what became of each."""
    mutator = Mutator(seed)
    with running_fleet(folder, env=_LIMITS) as fleet, fleet.client() as client, fleet.raw() as raw:
        workers = [fleet.start("a"), fleet.start("b")]
        for worker in workers:
            wait_until_ready(worker)
        pushed: list[bytes] = []
        good_ids: list[str] = []
        for number in range(messages):
            if number * good // messages >= len(good_ids):
                good_ids.append(client.submit(JOB))
            pushed.append(mutator.mutate(encode(number, f"fuzz-{number}")))
            raw.lpush(QUEUE, pushed[-1])
        _wait_until_quiet(raw)
        failed = sum(client.get(job_id).status is not JobStatus.SUCCEEDED for job_id in good_ids)
        return Outcome(
            good=len(good_ids),
            good_failed=failed,
            unaccounted=_unaccounted(fleet, pushed),
            held=raw.zcard(_KEYS.leases),
            workers_died=sum(not worker.is_running for worker in workers),
        )


def _wait_until_quiet(raw: "redis.Redis") -> None:
    """Wait until no message waits and none is held, or until nothing has changed for a while."""
    seen: Any = None
    changed_at = time.monotonic()

    def is_quiet() -> bool:
        """Nothing waits, or nothing changes any more."""
        nonlocal seen, changed_at
        now = (_waiting(raw), raw.zcard(_KEYS.leases), raw.zcard(_KEYS.dead_index))
        if now != seen:
            seen, changed_at = now, time.monotonic()
        return not any(now[:2]) or time.monotonic() - changed_at > _PATIENCE_S

    wait_until(is_quiet, 1800, every_s=0.5)


def _waiting(raw: "redis.Redis") -> int:
    lists = sum(raw.llen(key) for key in _KEYS.lists(QUEUE))
    return lists + sum(raw.zcard(key) for key in _KEYS.lanes(QUEUE))


def _unaccounted(fleet: Fleet, pushed: Iterable[bytes]) -> list[str]:
    """The messages of which nothing says what became of them."""
    with fleet.raw() as raw:
        letters = [DeadLetter.model_validate_json(text) for text in raw.hvals(_KEYS.dead)]
        dead = {letter.original for letter in letters} | {letter.job_id for letter in letters if letter.job_id}
        later = str(raw.zrange(_KEYS.delayed, 0, -1))
        texts = [_as_checked(data.decode(errors="replace")) for data in pushed]
        return [text for text in texts if text not in dead and not _is_known(raw, text, dead, later)]


def _is_known(raw: "redis.Redis", text: str, dead: set[str], later: str) -> bool:
    message_id = _id_of(text)
    if not isinstance(message_id, str) or not message_id:
        return False
    status = raw.hget(_KEYS.job(message_id), "status")
    return (
        status in {each.value for each in JobStatus} - {"queued", "running"}
        or message_id in dead
        or bool(raw.exists(f"celery-task-meta-{message_id}"))
        or f'"{message_id}' in later.replace("\\", "")
    )


def _as_checked(text: str) -> str:
    """The message as its check sees it last: one of protocol 1 has been rewritten."""
    try:
        parse_message(text, token="", queue=QUEUE, tasks=(), loads=loads)
    except OldProtocol as old:
        return old.rewritten
    except MalformedMessage:
        return text
    return text


def _id_of(text: str) -> Any:
    try:
        return json.loads(text)["headers"]["id"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
