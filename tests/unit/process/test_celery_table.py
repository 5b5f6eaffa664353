"""The tables of docs/celery.md leave nothing of Celery out."""

from celery.bin.celery import celery
from celery.bin.worker import worker
from celery.worker.control import Panel
from tests.support.celery_table import CONTROL, GLOBAL_OPTIONS, INSPECT, OPTIONS, PROGRAMS


def test_every_option_of_a_worker_is_there() -> None:
    assert {option.name for option in worker.params} == set(OPTIONS)
    assert {option.name for option in celery.params} == set(GLOBAL_OPTIONS)


def test_every_command_is_there() -> None:
    commands = {(name, each.type) for name, each in Panel.meta.items() if each.visible}
    assert commands == {(name, "control") for name in CONTROL} | {(name, "inspect") for name in INSPECT}


def test_every_program_is_there() -> None:
    assert set(celery.commands) == set(PROGRAMS)
