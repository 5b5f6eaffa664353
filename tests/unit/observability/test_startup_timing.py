"""How long the phases of a start took."""

import subprocess
import sys

import pytest

from imagefleet_worker.observability import startup_timing
from imagefleet_worker.observability.startup_timing import StartupTiming


def test_a_phase_is_as_long_as_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = StartupTiming()
    moments = iter([10.0, 12.5])
    monkeypatch.setattr(startup_timing.time, "monotonic", lambda: next(moments))
    with timing.phase("tea"):
        pass
    assert timing.seconds["tea"] == 2.5


def test_the_age_counts_from_the_birth_of_the_process_not_from_the_import() -> None:
    code = """
import time
while time.process_time() < 0.3:  # no thread computes for longer than its process is old
    pass
from imagefleet_worker.observability import startup_timing
print(startup_timing.process_age_s())
"""
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.3 <= age < 30


def test_without_proc_the_age_counts_from_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_proc)
    assert 0 <= startup_timing.process_age_s() < 3600
