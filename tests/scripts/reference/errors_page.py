"""docs/errors.md: every error code and exception, with its cause, whose fault it is, and the remedy."""

import inspect
from collections.abc import Iterable
from typing import NamedTuple

from tests.scripts.reference import markdown

import imagefleet  # noqa: F401  # so that all errors of the client are defined
import imagefleet_worker.webhooks.errors  # noqa: F401  # and those of webhooks
from imagefleet.cli.exit_codes import exit_code_for
from imagefleet.errors import ImageFleetError, JobFailed
from imagefleet_worker.errors import WorkerError

_INTRO = """Every error has a stable `code` and a `message`: a sentence that says what happened. Decide by the code and
show the message. `retryable` says whether the same job may succeed if it is tried again later. Workers retry such jobs
by themselves (`IMAGEFLEET_WORKER_RETRY_FOR_S`); a result with such a code means that they have given up.
"""
_RESULTS = """## In a result: `error.code`

A job that has not succeeded has one of these codes in its [result](results.md), in its webhook and in the exception
that Celery raises. `canceled` and `expired` are also statuses; the status with every other code is `failed`. A job
has ended, and its id is used: submit it under a new id to try again.
"""
_CLIENT = """## Exceptions of the client

All are subclasses of `imagefleet.ImageFleetError`. The exit code is the exit code of the command `imagefleet`.
"""
_DEAD = """## Reasons of dead letters

`imagefleet dead list` and `imagefleet webhooks list` show these as the reason. `canceled` and `expired` are
webhooks that were revoked, or whose message had expired, before a sender ran them.
"""
_PROCESS = """## Errors that end a worker, or an attempt

These are in the log of a worker; no result has them. [operating.md](operating.md#exit-codes) says what the exit
codes mean.
"""
#: Codes that a result may have, in the order of the page.
RESULT_CODES = (
    "invalid_job",
    "not_as_asked",
    "canceled",
    "expired",
    "timed_out",
    "generation_failed",
    "image_not_finite",
    "image_flagged",
    "checker_failed",
    "signing_failed",
    "out_of_memory",
    "storage_refused",
    "storage_unavailable",
    "spool_damaged",
    "poisoned",
    "internal_error",
)
#: Of deliveries, then of all messages: a delivery that Celery revokes is canceled, or has expired.
_OF_DELIVERIES = ("address_refused", "delivery_failed", "delivery_gone")
DEAD_LETTER_CODES = (*_OF_DELIVERIES, "poisoned", "id_taken", "canceled", "expired", "internal_error")
_MALFORMED = (
    "`malformed`",
    "A message in a queue cannot be run: it is no JSON, no task of ours, has no id, or a header is wrong.",
    "whoever pushed it",
    "`imagefleet dead show ID` has the reason and the message. Correct the program that pushed it.",
)


class Explained(NamedTuple):
    """An error in words."""

    kind: type[ImageFleetError]
    code: str
    cause: str
    fault: str
    remedy: str
    retryable: bool


def errors() -> list[Explained]:
    """Every error of the two packages, those of the client first."""
    kinds = dict.fromkeys(_below(ImageFleetError))
    return [_explain(kind) for kind in sorted(kinds, key=lambda kind: issubclass(kind, WorkerError))]


def codes() -> set[str]:
    """Every error code."""
    return {error.code for error in errors()}


def make() -> str:
    """The page."""
    found = errors()
    in_worker = [error for error in found if _is_of_worker(error)]
    client = [error for error in found if not _is_of_worker(error)]
    dead = [error for code in DEAD_LETTER_CODES for error in found if error.code == code]
    others = [error for error in in_worker if error.code not in {*RESULT_CODES, *DEAD_LETTER_CODES}]
    malformed = (*_MALFORMED[:1], "no", *_MALFORMED[1:])
    parts = [
        _RESULTS,
        markdown.table(_header("code", "retryable"), _result_lines(found)),
        _CLIENT,
        markdown.table(_header("exception, code", "exit code"), map(_client_line, client)),
        _DEAD,
        markdown.table(_header("code", "retried before"), [malformed, *map(_plain_line, dead)]),
        _PROCESS,
        markdown.table(("code", *_header("", "")[2:]), [(markdown.code(each.code), *_words(each)) for each in others]),
    ]
    return markdown.page("Errors", "the docstrings of the errors", _INTRO, *parts)


def _header(first: str, second: str) -> tuple[str, ...]:
    return (first, second, "cause", "whose fault", "what to do")


def _result_lines(found: list[Explained]) -> Iterable[tuple[str, ...]]:
    for code in RESULT_CODES:
        for error in found:
            if error.code == code:
                yield _plain_line(error)


def _plain_line(error: Explained) -> tuple[str, ...]:
    return (markdown.code(error.code), "yes" if error.retryable else "no", *_words(error))


def _client_line(error: Explained) -> tuple[str, ...]:
    name = f"`{error.kind.__name__}`, `{error.code}`"
    is_shown = not issubclass(error.kind, JobFailed)
    return (name, str(int(exit_code_for(error.kind("")))) if is_shown else "1", *_words(error))


def _words(error: Explained) -> tuple[str, ...]:
    return tuple(markdown.cell(text) for text in (error.cause, error.fault.strip().rstrip("."), error.remedy))


def _is_of_worker(error: Explained) -> bool:
    return issubclass(error.kind, WorkerError)


def _below(kind: type[ImageFleetError]) -> Iterable[type[ImageFleetError]]:
    for each in kind.__subclasses__():
        if not each.__module__.startswith("imagefleet.cli.") and not each.__name__.startswith("_"):  # these never leave
            yield each
        yield from _below(each)


def _explain(kind: type[ImageFleetError]) -> Explained:
    cause, has_fault, rest = inspect.cleandoc(kind.__doc__ or "").partition("\nFault:")
    fault, has_remedy, remedy = rest.partition("\nRemedy:")
    assert has_fault, f"{kind.__name__}: the docstring needs a line that begins with `Fault:`"
    assert has_remedy, f"{kind.__name__}: the docstring needs a line that begins with `Remedy:`, after `Fault:`"
    return Explained(kind, kind.code, cause, fault, remedy, bool(getattr(kind, "retryable", False)))
