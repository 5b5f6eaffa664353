"""Telemetry: structured log lines, one event each, through Python's own logging."""

import logging
from typing import Any

import structlog

from imagefleet_worker.settings import LogFormat, WorkerSettings


def _labelled(label: str) -> structlog.types.Processor:
    def add(_logger: Any, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["device"] = label
        return event

    return add


def configure(settings: WorkerSettings) -> None:
    """Send structlog and plain logging, Celery's included, through one formatter to standard error."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if settings.log_label:  # the lines of several processes, in one stream
        shared.append(_labelled(settings.log_label))
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for noisy in ("botocore", "urllib3", "s3transfer", "httpx", "httpcore", "PIL", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if settings.log_level != "DEBUG":  # "job ended" says it all; Celery's two lines a job would repeat the whole result
        for repeating in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(repeating).setLevel(logging.WARNING)
