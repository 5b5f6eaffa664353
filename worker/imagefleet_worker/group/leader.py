"""The leader: rank 0, which takes the jobs of the whole group and renders each of them with all ranks in lockstep."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.run import DeviceRun
from imagefleet_worker.diffusion.images import PendingImages
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.diffusion.preview_throttle import OnPreview
from imagefleet_worker.diffusion.renderer import Renderer
from imagefleet_worker.diffusion.step_callback import OnStep
from imagefleet_worker.errors import GroupBroken
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.group import protocol
from imagefleet_worker.group.channel import Channel
from imagefleet_worker.group.protocol import GO, HALT, STOP, MessageKind, RankMessage


class Leader(Renderer):
    """A renderer whose every job is rendered by the followers behind *channels*, too.

    A follower that dies, hangs or cannot do what the leader does ends the process, and with it the group: its jobs are
    redelivered. Nothing less would help, for the ranks wait for each other in the middle of the model.
    """

    def __init__(self, pipe: Any, channels: Sequence[Channel], *, timeout_s: float) -> None:
        super().__init__(pipe, inspect_pipeline(pipe))
        self._channels = channels
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._busy: set[Channel] = set()
        self._job = 0
        self._is_leaving = False
        for channel in channels:
            channel.beat()
            threading.Thread(target=self._hear, args=(channel,), name="group-leader", daemon=True).start()

    def render(
        self,
        job: GenerationJob,
        *,
        seeds: Sequence[int],
        run: DeviceRun | None = None,
        on_step: OnStep,
        on_last_step: Callable[[], None],
        on_preview: OnPreview = None,
    ) -> PendingImages:
        """As `Renderer.render`. Whether to go on after a step is decided here, once for all ranks."""

        def on_step_of_all(done: int, total: int) -> None:
            try:
                on_step(done, total)
            except BaseException:
                self._tell(HALT)
                raise
            self._tell(GO)

        with self._turn:
            with self._changed:
                self._busy = set(self._channels)
                self._job += 1
            self._tell(protocol.render(job, tuple(seeds)))
            try:
                return super().render(
                    job,
                    seeds=seeds,
                    run=run,
                    on_step=on_step_of_all,
                    on_last_step=on_last_step,
                    on_preview=on_preview,
                )
            finally:
                self._wait_for_all()
                self._job += 1

    def leave(self) -> None:
        """Send the followers home: this process ends."""
        self._is_leaving = True
        for channel in self._channels:
            try:
                channel.send(STOP)
            except GroupBroken:  # it has left already
                continue

    def _tell(self, word: RankMessage) -> None:
        try:
            for channel in self._channels:
                channel.send(word)
        except GroupBroken as error:
            self._exit_group(error.message)

    def _hear(self, channel: Channel) -> None:
        try:
            while True:
                self._note(channel, channel.receive())
        except (GroupBroken, ValueError) as error:
            self._exit_group(str(error))

    def _note(self, channel: Channel, word: RankMessage) -> None:
        if word.kind is not MessageKind.DONE:
            raise ValueError(f"{channel.other} said {word.kind.value} where only done makes sense")
        with self._changed:
            self._busy.discard(channel)
            self._changed.notify_all()
        if word.error:  # the leader meets the same error in this moment, or waits for that rank until the timeout
            sentence = f"{channel.other} failed alone: {word.error}"
            timer = threading.Timer(self._timeout_s, self._exit_group_if_still_at, (self._job, sentence))
            timer.daemon = True
            timer.start()

    def _exit_group_if_still_at(self, job: int, sentence: str) -> None:
        if self._job == job:
            self._exit_group(sentence)

    def _wait_for_all(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._busy, timeout=self._timeout_s):
                names = ", ".join(channel.other for channel in self._busy)
                self._exit_group(f"{names} did not end the job with the leader within {self._timeout_s:g} s")

    def _exit_group(self, sentence: str) -> None:
        if self._is_leaving:
            return
        os.write(2, f"imagefleet: the device group is broken: {sentence}; ending the process\n".encode())
        os._exit(ExitCode.DEVICE_GROUP_BROKEN)
