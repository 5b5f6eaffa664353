"""Health: what a probe says about the worker process of this machine, by its heartbeat file alone.

Never asks Redis or the device itself: a probe must answer at once and cost nothing. Three questions, as Kubernetes asks
them: `startup` (is the model loaded?), `live` (would a restart help?) and `ready` (does it take jobs?).
"""

import os
import sys
from typing import Final, NamedTuple

from imagefleet_worker import beats
from imagefleet_worker.beats import Beat

#: Read here and not in `settings`, which needs pydantic.
FOLDER_VARIABLE: Final = "IMAGEFLEET_HEALTH_FOLDER"
PROBES: Final = ("live", "ready", "startup")

_USAGE = 2


class Limits(NamedTuple):
    """How long a sign of life may be missing, in seconds."""

    #: Of the process as a whole; loading native code may hold the interpreter for some.
    frozen_s: float = 30.0
    #: Of the event loop, which turns once a second; a slow answer of Redis holds it for a few.
    wedged_s: float = 30.0
    #: Of consuming, while Redis answers; Celery pauses for up to 32 between two tries.
    reconnect_s: float = 90.0
    #: Of Redis, which is asked every two.
    redis_s: float = 15.0


DEFAULT_LIMITS: Final = Limits()


class Verdict(NamedTuple):
    """The answer to a probe."""

    is_good: bool
    words: str


def judge(probe: str, beat: Beat | None, *, now: float, birth: str | None, limits: Limits = DEFAULT_LIMITS) -> Verdict:
    """The answer to *probe* by the last *beat*; *birth* is what `beats.birth_of` says about its process now."""
    if beat is None:
        return Verdict(is_good=False, words="no heartbeat: no worker has started here yet")
    if birth is None or birth != beat.born:
        return Verdict(is_good=False, words=f"ended: process {beat.pid}, which wrote the heartbeat, is no more")
    if beat.state == "loading":
        words = f"loading: the model has been loading for {_ago(now, beat.state_since)}"
        return Verdict(is_good=probe == "live", words=words)
    if probe == "startup":
        return Verdict(is_good=True, words="loaded")
    if problem := _why_dead(beat, now=now, limits=limits):
        return Verdict(is_good=False, words=problem)
    problem = _why_not_ready(beat, now=now, limits=limits)
    return Verdict(is_good=probe == "live" or not problem, words=problem or _at_work(beat, now=now))


def _why_dead(beat: Beat, *, now: float, limits: Limits) -> str:
    """Why only a restart helps; empty where it would not."""
    if now - beat.at > limits.frozen_s:
        silent = _ago(now, beat.at)
        return f"frozen: no heartbeat for {silent}; the process is stopped, or native code holds the interpreter"
    if beat.device_since is not None and now - beat.device_at > beat.device_timeout_s:
        return (
            f"stuck device: a job is on it and it has been silent for {_ago(now, beat.device_at)}, "
            f"longer than the {beat.device_timeout_s:.0f} s of IMAGEFLEET_ENGINE_JOB_TIMEOUT_S"
        )
    if beat.state == "draining" or _is_redis_lost(beat, now=now, limits=limits):
        return ""  # Celery has left its event loop, or waits in it for Redis: a restart would change nothing
    still_since = max(beat.loop_at, beat.redis_since)
    if beat.is_consuming and now - still_since > limits.wedged_s:
        return f"wedged consumer: Celery's event loop has not turned for {_ago(now, still_since)}"
    away_since = max(beat.consuming_since, beat.redis_since)
    if not beat.is_consuming and now - away_since > limits.reconnect_s:
        return f"wedged consumer: Redis answers, yet Celery has not consumed for {_ago(now, away_since)}"
    return ""


def _why_not_ready(beat: Beat, *, now: float, limits: Limits) -> str:
    """Why a live worker takes no jobs; empty where it does."""
    if beat.state == "draining":
        return f"draining: no more jobs are taken since {_ago(now, beat.state_since)}"
    if _is_redis_lost(beat, now=now, limits=limits):
        silent = f"for {_ago(now, beat.redis_at)}" if beat.redis_at else "yet"
        return f"lost redis: no answer {silent}; {beat.redis_problem or 'it keeps silent'}"
    if not beat.is_consuming:
        return f"reconnecting: Celery has not consumed for {_ago(now, beat.consuming_since)}"
    if now - beat.loop_at > limits.wedged_s:
        return f"reconnecting: Celery's event loop has not turned for {_ago(now, beat.loop_at)}"
    return ""


def _is_redis_lost(beat: Beat, *, now: float, limits: Limits) -> bool:
    return bool(beat.redis_problem) or now - beat.redis_at > limits.redis_s


def _at_work(beat: Beat, *, now: float) -> str:
    if beat.device_since is None:
        return "ready: the device is free"
    busy, last = _ago(now, beat.device_since), _ago(now, beat.device_at)
    return f"ready: the device has been busy for {busy}, its last step was {last} ago"


def _ago(now: float, moment: float) -> str:
    return f"{max(now - moment, 0):.0f} s"


def main(arguments: list[str]) -> int:
    """Answer the one probe in *arguments* on standard output.

    Returns:
        The exit code: 0 for good, 1 for not, 2 for a question that cannot be answered.
    """
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if len(arguments) != 1 or arguments[0] not in PROBES:
        sys.stderr.write(f"usage: imagefleet-worker health {'|'.join(PROBES)}\n")
        return _USAGE
    if not folder:
        sys.stderr.write(f"imagefleet: set {FOLDER_VARIABLE} to the folder that the worker has, too\n")
        return _USAGE
    try:
        verdict = _of_devices(arguments[0], folder) or _of_worker(arguments[0], folder)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"imagefleet: {beats.path_in(folder)} is no heartbeat of this version: {error}\n")
        return _USAGE
    sys.stdout.write(f"{verdict.words}\n")
    return 0 if verdict.is_good else 1


def _of_worker(probe: str, folder: str) -> Verdict:
    beat = beats.read(folder)
    return judge(probe, beat, now=beats.now(), birth=beats.birth_of(beat.pid) if beat else None)


def _of_devices(probe: str, folder: str) -> Verdict | None:
    """The answer about all workers below *folder*; None where it is the folder of one."""
    if not os.path.exists(f"{folder}/devices.json"):  # noqa: PTH110  # pathlib costs a probe 5 ms
        return None
    from imagefleet_worker import roll  # noqa: PLC0415  # pathlib too

    found = roll.read(folder)
    return found and roll.judge(probe, found, now=beats.now(), birth=beats.birth_of(found.pid))
