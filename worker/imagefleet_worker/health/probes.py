"""Probes: judge the worker process of this machine by its heartbeat file alone.

A probe never asks Redis or the device, because it must answer at once and cost nothing. There are three, as Kubernetes
has them: `startup` (is the model loaded?), `live` (would a restart help?) and `ready` (does it take jobs?).
"""

import os
import sys
from typing import Final

from imagefleet_worker.health import heartbeat_file
from imagefleet_worker.health.heartbeat_file import Beat
from imagefleet_worker.health.limits import DEFAULT_LIMITS, Limits, ProbeResult

#: Read here and not in `settings`, which needs pydantic.
FOLDER_VARIABLE: Final = "IMAGEFLEET_HEALTH_FOLDER"
PROBES: Final = ("live", "ready", "startup")

_USAGE = 2
_HELP: Final = """Usage: imagefleet-worker health live|ready|startup

Check a worker by its heartbeat in IMAGEFLEET_HEALTH_FOLDER.

  live     no restart is needed
  ready    takes jobs
  startup  the model is loaded

Exit code 0: healthy; 1: not; 2: cannot be checked.
"""


def judge(
    probe: str, beat: Beat | None, *, now: float, birth: str | None, limits: Limits = DEFAULT_LIMITS
) -> ProbeResult:
    """The answer to *probe* by the last *beat*; *birth* is what `heartbeat_file.birth_of` says of its process now."""
    if beat is None:
        return ProbeResult(is_good=False, words="no heartbeat: no worker has started here yet")
    if birth is None or birth != beat.born:
        return ProbeResult(is_good=False, words=f"ended: process {beat.pid}, which wrote the heartbeat, has ended")
    if beat.state == "loading":
        words = f"loading: the model has been loading for {_ago(now, beat.state_since)}"
        return ProbeResult(is_good=probe == "live", words=words)
    if probe == "startup":
        return ProbeResult(is_good=True, words="loaded")
    if problem := _why_dead(beat, now=now, limits=limits):
        return ProbeResult(is_good=False, words=problem)
    problem = _why_not_ready(beat, now=now, limits=limits)
    return ProbeResult(is_good=probe == "live" or not problem, words=problem or _at_work(beat, now=now))


def _why_dead(beat: Beat, *, now: float, limits: Limits) -> str:
    """Why only a restart helps; empty if it would not help."""
    if now - beat.at > limits.frozen_s:
        silent = _ago(now, beat.at)
        return f"frozen: no heartbeat for {silent}; the process is stopped, or native code holds the interpreter"
    if beat.device_since is not None and now - beat.device_at > beat.device_timeout_s:
        return (
            f"stuck device: a job is on it and it has been silent for {_ago(now, beat.device_at)}, "
            f"longer than the {beat.device_timeout_s:.0f} s of IMAGEFLEET_ENGINE_JOB_TIMEOUT_S"
        )
    if beat.state == "draining" or _is_redis_lost(beat, now=now, limits=limits):
        return ""  # Celery has left its event loop, or waits in it for Redis: a restart would not help
    still_since = max(beat.loop_at, beat.redis_since)
    if beat.is_consuming and now - still_since > limits.wedged_s:
        return f"wedged consumer: Celery's event loop has not turned for {_ago(now, still_since)}"
    away_since = max(beat.consuming_since, beat.redis_since)
    if not beat.is_consuming and now - away_since > limits.reconnect_s:
        return f"wedged consumer: Redis answers, yet Celery has not consumed for {_ago(now, away_since)}"
    return ""


def _why_not_ready(beat: Beat, *, now: float, limits: Limits) -> str:
    """Why a live worker takes no jobs; empty if it takes jobs."""
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
        The exit code: 0 if the answer is good, 1 if it is not, 2 if the probe cannot be answered.
    """
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if arguments == ["--help"]:
        sys.stdout.write(_HELP)
        return 0
    if len(arguments) != 1 or arguments[0] not in PROBES:
        sys.stderr.write(f"usage: imagefleet-worker health {'|'.join(PROBES)}\n")
        return _USAGE
    if not folder:
        sys.stderr.write(f"imagefleet: set {FOLDER_VARIABLE} to the same folder as for the worker\n")
        return _USAGE
    try:
        result = _of_devices(arguments[0], folder) or _of_worker(arguments[0], folder)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"imagefleet: {heartbeat_file.path_in(folder)} is no heartbeat of this version: {error}\n")
        return _USAGE
    sys.stdout.write(f"{result.words}\n")
    return 0 if result.is_good else 1


def _of_worker(probe: str, folder: str) -> ProbeResult:
    beat = heartbeat_file.read(folder)
    return judge(probe, beat, now=heartbeat_file.now(), birth=heartbeat_file.birth_of(beat.pid) if beat else None)


def _of_devices(probe: str, folder: str) -> ProbeResult | None:
    """The answer about all workers below *folder*; None if it is the folder of one worker."""
    if not os.path.exists(f"{folder}/devices.json"):  # noqa: PTH110  # pathlib costs a probe 5 ms
        return None
    from imagefleet_worker.health import device_status  # noqa: PLC0415  # pathlib too

    found = device_status.read(folder)
    return found and device_status.judge(
        probe, found, now=heartbeat_file.now(), birth=heartbeat_file.birth_of(found.pid)
    )
