"""Fingerprints: whether two jobs with the same id are the same job."""

import hashlib
import json
from typing import Final

from imagefleet.contract.jobs import GenerationJob

#: Fields that say when and how a job is run, not what it is: a producer that sends a job again may change them.
IGNORED: Final = frozenset({"version", "priority", "deadline", "presign", "preview_every"})


def fingerprint_of(job: GenerationJob) -> str:
    """A hash of what *job* asks for, and for whom; it does not change when the contract gets new optional fields."""
    asked = job.model_dump(mode="json", exclude_defaults=True, exclude=set(IGNORED))
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
