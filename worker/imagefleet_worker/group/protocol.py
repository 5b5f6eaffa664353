"""The protocol: the messages between the ranks of a group, one line of JSON each."""

import sys
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from imagefleet.contract.jobs import GenerationJob, JobLimits

#: The leader has checked the job against the limits of the settings.
_UNLIMITED = JobLimits(**dict.fromkeys(JobLimits.model_fields, sys.maxsize))
#: What to do about a group that is broken, at the end of a sentence; its job is delivered again by itself.
READ_LOGS = "read the logs of all ranks"


class MessageKind(StrEnum):
    """What a message asks for or tells."""

    HELLO = "hello"
    BEAT = "beat"
    RENDER = "render"
    GO = "go"
    HALT = "halt"
    STOP = "leave"
    DONE = "done"


class RankMessage(BaseModel):
    """One message between two ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: MessageKind
    #: Of hello: who speaks, and the secret that shows that it belongs to the group.
    rank: int | None = None
    secret: str | None = None
    #: Of render: the job with its size, steps and guidance set, and the seed of each image.
    job: GenerationJob | None = None
    seeds: tuple[int, ...] = ()
    #: Of done: why this rank could not render the job.
    error: str | None = None

    @classmethod
    def heard(cls, line: bytes) -> "RankMessage":
        """The message that *line* is.

        Raises:
            ValueError: where it is none.
        """
        return cls.model_validate_json(line, context=_UNLIMITED)

    def line(self) -> bytes:
        """The message as it is sent."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


BEAT, GO, HALT, STOP = (
    RankMessage(kind=kind) for kind in (MessageKind.BEAT, MessageKind.GO, MessageKind.HALT, MessageKind.STOP)
)


def render(job: GenerationJob, seeds: tuple[int, ...]) -> RankMessage:
    """Ask for *job*, without what only its sender needs to know."""
    return RankMessage(
        kind=MessageKind.RENDER, job=job.model_copy(update={"webhook": None, "metadata": {}}), seeds=seeds
    )
