"""A plug-in for workers under test: a job kills its process.

    celery worker -I tests.support.devices.killing_prompt

At the tenth step of a job whose prompt is `FAULTS_KILLING_PROMPT` the process gets SIGKILL.
"""

import functools
import os
import signal
from typing import Any

from imagefleet_worker.diffusion.engine import Engine

_PROMPT = os.environ["FAULTS_KILLING_PROMPT"]
_STEP = 10
_render = Engine.render


@functools.wraps(_render)
def _killing_render(engine: Engine, job: Any, **options: Any) -> Any:
    on_step = options["on_step"]

    def on_step_or_kill(done: int, total: int) -> None:
        on_step(done, total)
        if job.prompt == _PROMPT and done == _STEP:
            os.kill(os.getpid(), signal.SIGKILL)

    return _render(engine, job, **{**options, "on_step": on_step_or_kill})


Engine.render = _killing_render  # type: ignore[method-assign]  # what a plug-in is for
