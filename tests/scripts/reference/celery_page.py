"""docs/celery.md: the tables of Celery's options and commands, made of those that the tests type."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from celery.bin.celery import celery
from celery.bin.worker import worker
from click import Command as Program
from tests.scripts.reference import markdown
from tests.support.celery_table import CONTROL, GLOBAL_OPTIONS, INSPECT, OPTIONS, PROGRAMS, Command

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.process.start_check import CeleryStart, ServedQueues, check_start

_PAGE: Final = Path(__file__).parents[3] / "docs" / "celery.md"
_QUEUE: Final = "imagefleet.default"


def make() -> str:
    """The page as it is, with its tables as they should be."""
    text = _PAGE.read_text()
    for name, table in _TABLES.items():
        begin, end = f"<!-- made: {name} -->\n", f"<!-- end: {name} -->\n"
        assert begin in text, f"docs/celery.md: {begin.strip()} is missing"
        assert end in text, f"docs/celery.md: {end.strip()} is missing"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"
    return text


def refusal(option: str) -> str:
    """The sentence with which a worker refuses *option*."""
    try:
        start = CeleryStart("threads", (_QUEUE,), "", frozenset({option}))
        check_start(start, served=ServedQueues("default"), broker_url="")
    except SettingsInvalid as refused:
        return refused.message.partition(": ")[2]
    raise AssertionError(f"nothing refuses {option}: say in OPTIONS what it does")


def _options() -> str:
    rows = [
        (_flags(worker, name), markdown.cell(option.does or f"**refused**: {refusal(name)}"))
        for name, option in OPTIONS.items()
    ]
    return markdown.table(("option of `celery worker`", "here"), rows)


def _global_options() -> str:
    rows = [(_flags(celery, name), markdown.cell(line.does)) for name, line in GLOBAL_OPTIONS.items()]
    return markdown.table(("option of `celery`", "here"), rows)


def _programs() -> str:
    return markdown.table(("`celery ...`", "here"), _sorted({name: line.does for name, line in PROGRAMS.items()}))


def _commands(kind: str, commands: Mapping[str, Command]) -> str:
    return markdown.table(
        (f"`celery {kind} ...`", "here"), _sorted({name: each.does for name, each in commands.items()})
    )


def _sorted(texts: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return [(markdown.code(name), markdown.cell(text)) for name, text in sorted(texts.items())]


def _flags(program: Program, name: str) -> str:
    (flags,) = [option.opts for option in program.params if option.name == name]
    return ", ".join(
        markdown.code(flag) for flag in sorted(flags, key=lambda flag: (len(re.sub("[^-]", "", flag)), flag))
    )


_TABLES: Final[dict[str, Callable[[], str]]] = {
    "options": _options,
    "global options": _global_options,
    "control": lambda: _commands("control", CONTROL),
    "inspect": lambda: _commands("inspect", INSPECT),
    "programs": _programs,
}
