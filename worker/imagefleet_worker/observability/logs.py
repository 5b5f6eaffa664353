"""Logs: structured log lines, one event each, through Python's own logging."""

import logging
from logging.handlers import WatchedFileHandler
from typing import Any

import structlog

from imagefleet.errors import complain
from imagefleet_worker.settings import LogFormat, WorkerSettings


def _labelled(label: str) -> structlog.types.Processor:
    def add(_logger: Any, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["device"] = label
        return event

    return add


def report(sentence: str) -> None:
    """Say why this process ends: on standard error, and in the log file if there is one, for want of a terminal."""
    complain(sentence)
    root = logging.getLogger()
    if any(isinstance(handler, logging.FileHandler) for handler in root.handlers):
        root.critical(sentence)


def configure(settings: WorkerSettings, *, level: int | None = None, file: str | None = None) -> None:
    """Send structlog and plain logging, Celery's included, through one formatter to standard error, or to *file*.

    Args:
        settings: How lines look, and which of them are written.
        level: Wins over the level of *settings*.
        file: Gets the lines; it is opened again after something has moved it, such as logrotate.
    """
    least = settings.log_level if level is None else level
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if settings.log_label:  # several processes write to one stream
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
    handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for noisy in ("botocore", "urllib3", "s3transfer", "httpx", "httpx2", "httpcore", "httpcore2", "PIL", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if root.level > logging.DEBUG:  # "job ended" says it all; Celery's two lines a job would repeat the whole result
        for repeating in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(repeating).setLevel(logging.WARNING)
