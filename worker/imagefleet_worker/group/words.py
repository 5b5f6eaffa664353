"""Words: what the ranks of a group say to each other, as one line of JSON each."""

import sys
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from imagefleet.jobs import GenerationJob, JobLimits

#: The leader has checked the job against the limits of the settings.
_UNLIMITED = JobLimits(**dict.fromkeys(JobLimits.model_fields, sys.maxsize))


class Kind(StrEnum):
    """What a word asks for or tells."""

    HELLO = "hello"
    BEAT = "beat"
    RENDER = "render"
    GO = "go"
    HALT = "halt"
    LEAVE = "leave"
    DONE = "done"


class Word(BaseModel):
    """One message between two ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    #: Of hello: who speaks, and the secret that shows that it belongs to the group.
    rank: int | None = None
    secret: str | None = None
    #: Of render: the job with its size, steps and guidance set, and the seed of each image.
    job: GenerationJob | None = None
    seeds: tuple[int, ...] = ()
    #: Of done: why this rank could not render the job.
    error: str | None = None

    @classmethod
    def heard(cls, line: bytes) -> "Word":
        """The word that *line* is.

        Raises:
            ValueError: where it is none.
        """
        return cls.model_validate_json(line, context=_UNLIMITED)

    def line(self) -> bytes:
        """The word as it is sent."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


BEAT, GO, HALT, LEAVE = (Word(kind=kind) for kind in (Kind.BEAT, Kind.GO, Kind.HALT, Kind.LEAVE))


def render(job: GenerationJob, seeds: tuple[int, ...]) -> Word:
    """Ask for *job*, without what only its sender needs to know."""
    return Word(kind=Kind.RENDER, job=job.model_copy(update={"webhook": None, "metadata": {}}), seeds=seeds)
