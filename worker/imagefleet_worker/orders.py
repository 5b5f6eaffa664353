"""Orders: what a message asks for, checked; and what can be read of it where it asks for nothing that can be done."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from imagefleet.errors import InvalidJob
from imagefleet.jobs import GenerationJob, Webhook
from imagefleet.queues import check_job_id
from imagefleet_worker.settings import Settings


def parse(job_id: str, kwargs: Mapping[str, Any], *, settings: Settings) -> GenerationJob:
    """The job of a message with that id and those *kwargs*, for the model of *settings*.

    Raises:
        InvalidJob: naming everything that is wrong.
    """
    check_job_id(job_id)
    data = kwargs.get("job")
    if set(kwargs) != {"job"} or not isinstance(data, Mapping):
        raise InvalidJob('kwargs: must be {"job": {...}} and nothing else')
    alias = settings.model.alias
    job = GenerationJob.parse({"model": alias, **data}, limits=settings.limits)
    if job.model != alias:
        raise InvalidJob(f"model: this queue serves {alias!r}; send {job.model!r} to the queue imagefleet.{job.model}")
    return job


def salvage_webhook(kwargs: Mapping[str, Any]) -> Webhook | None:
    """The webhook of a job that is otherwise invalid: its sender should still hear of it."""
    try:
        return Webhook.model_validate(kwargs["job"]["webhook"])
    except (KeyError, TypeError, ValidationError):
        return None
