"""The check of the bucket."""

from imagefleet_worker.doctor.findings import Outcome, failed, ok
from imagefleet_worker.doctor.subject import Subject


def check_bucket(subject: Subject) -> Outcome:
    """Whether a worker can do in the bucket what it must, and the server lets only one of two results win.

    Raises:
        StorageRefused, StorageUnavailable: where it cannot.
    """
    bucket = subject.settings.storage.bucket
    if subject.storage.check():
        return ok(f"{bucket}: write, read, list and delete work, and a second write with If-None-Match is refused")
    return failed(
        f"{bucket}: this S3 ignores If-None-Match, so a job that runs twice may leave the result of either run. "
        "Use a server that knows conditional writes"
    )
