"""Tasks of somebody who adds them to a worker with `-I`, and a schedule for `-B`."""

import threading
from pathlib import Path

from celery.utils.log import get_task_logger

from imagefleet_worker.app import app

QUEUE = "own"
log = get_task_logger(__name__)

app.conf.beat_schedule = {"tick": {"task": "own.tick", "schedule": 0.2, "options": {"queue": QUEUE, "expires": 5}}}


@app.task(name="own.tick", ignore_result=True)
def tick() -> None:
    """Say so, at the level DEBUG."""
    log.debug("tick")


@app.task(name="own.add")
def add(x: int, y: int) -> int:
    """The sum."""
    return x + y


@app.task(name="own.hold")
def hold(path: str) -> bool:
    """Hold a thread until there is a file at *path*."""
    pause = threading.Event()
    while not Path(path).exists():
        pause.wait(0.05)
    return True
