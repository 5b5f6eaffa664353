"""Made images: what one attempt has to store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from imagefleet.contract.results import JobResult
from imagefleet_worker.storage.image_files import EncodedImage


@dataclass(frozen=True, slots=True)
class MadeImages:
    """The files of a job, in memory or on disk, and what is known of them."""

    #: Without artifacts, because nothing is stored yet.
    result: JobResult
    #: In the order of their seeds; one that lies on disk is read each time that it is asked for.
    files: Sequence[EncodedImage]
    #: How they were made.
    parameters: Mapping[str, JsonValue]
