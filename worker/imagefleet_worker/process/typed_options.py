"""Typed options: what Celery's command line was given, as opposed to what Celery takes by default."""

from typing import Final

import click
from click.core import ParameterSource

_DEFAULTS: Final = (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def is_typed(option: str) -> bool:
    """Whether *option* of `celery worker`, such as `loglevel`, was typed, or set as CELERY_WORKER_LOGLEVEL."""
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(option) not in _DEFAULTS
