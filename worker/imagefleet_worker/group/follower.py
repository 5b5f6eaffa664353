"""A follower: a rank that renders what the leader says, step by step, and gives its images to nobody."""

import os
import queue
import signal
import threading
from collections.abc import Sequence
from typing import NoReturn

import structlog

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.renderer import Renderer
from imagefleet_worker.errors import DeviceFault, GroupBroken, WorkerError
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.group.channel import Channel
from imagefleet_worker.group.protocol import MessageKind, RankMessage

log = structlog.get_logger(__name__)


class _StopRendering(Exception):
    """The leader said halt, or the last step is done: decoding is the leader's."""


class Follower:
    """Renders with *renderer* whatever comes through *channel*, until the leader sends it home."""

    def __init__(self, renderer: Renderer, channel: Channel) -> None:
        self._renderer = renderer
        self._channel = channel
        self._words: queue.SimpleQueue[RankMessage] = queue.SimpleQueue()

    def run(self) -> NoReturn:
        """Follow; the end comes from the thread that hears the leader, even in the middle of a job."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):  # how the group ends is the leader's decision
            signal.signal(number, signal.SIG_IGN)
        self._channel.beat()
        threading.Thread(target=self._hear, name="group-follower", daemon=True).start()
        while True:
            word = self._words.get()
            if word.kind is not MessageKind.RENDER or word.job is None:
                continue  # a go or halt of a job that has ended here with an error
            self._channel.send(RankMessage(kind=MessageKind.DONE, error=self._render(word.job, word.seeds)))

    def _render(self, job: GenerationJob, seeds: Sequence[int]) -> str | None:
        """Why the job could not be rendered; None where it could, or was halted."""
        try:
            self._renderer.render(job, seeds=seeds, on_step=self._on_step, on_last_step=_nothing)
        except _StopRendering:
            return None
        except DeviceFault as error:
            _end(ExitCode.DEVICE_FAULT, error.message)
        except WorkerError as error:
            return error.message
        return "the pipeline ended before its last step"

    def _on_step(self, done: int, total: int) -> None:
        if self._words.get().kind is not MessageKind.GO or done >= total:
            raise _StopRendering

    def _hear(self) -> None:
        try:
            while (word := self._channel.receive()).kind is not MessageKind.STOP:
                self._words.put(word)
        except (GroupBroken, ValueError) as error:
            _end(ExitCode.DEVICE_GROUP_BROKEN, f"the device group is broken: {error}")
        log.info("follower leaves")
        os._exit(ExitCode.OK)


def _nothing() -> None:
    """The end of the denoising is the end of the job here."""


def _end(code: ExitCode, sentence: str) -> NoReturn:
    os.write(2, f"imagefleet: {sentence}; ending the process\n".encode())
    os._exit(code)
