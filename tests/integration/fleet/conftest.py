"""Fleets that files of this room share; `tests/support/scheduling.py` has them run in one process.

The jobs of a file are over before the next begins, and a file ends the workers that it starts beside these.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.c2pa_authority import Authority, variables
from tests.support.fleet.fleet import SENDER, Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.servers.trace_collector import TraceCollector


@pytest.fixture(scope="package")
def collector() -> Iterator[TraceCollector]:
    """Where the workers of `watched_fleet` send their traces."""
    with closing(TraceCollector()) as collector:
        yield collector


@pytest.fixture(scope="package")
def authority() -> Authority:
    """Who vouches for the images of `watched_fleet`."""
    return Authority()


@pytest.fixture(scope="package")
def watched_fleet(
    tmp_path_factory: pytest.TempPathFactory, collector: TraceCollector, authority: Authority
) -> Iterator[Fleet]:
    """An image worker, with a checker and a key, and a sender of webhooks; traces, events and logs for programs."""
    env = {
        "IMAGEFLEET_MODEL_CHECKER": "tests.support.checkers:by_prompt",
        "IMAGEFLEET_TRACING_ENDPOINT": collector.url,
        "IMAGEFLEET_WORKER_LOG_FORMAT": "json",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **variables(authority.write(tmp_path_factory.mktemp("c2pa"))),
    }
    with running_fleet(tmp_path_factory.mktemp("watched"), env=env) as fleet:
        for worker in (fleet.start("gpu0", options=("-E",)), fleet.start("hooks", options=SENDER)):
            wait_until_ready(worker)
        yield fleet


@pytest.fixture(scope="package")
def busy_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers whose devices are full with one job, by the mode and by the budget, and a sender of webhooks."""
    env = {"IMAGEFLEET_LIMIT_MAX_STEPS": "900"}
    with running_fleet(tmp_path_factory.mktemp("busy"), env=env) as fleet:
        workers = (
            fleet.start("off", env={"IMAGEFLEET_ENGINE_MODE": "off"}),
            fleet.start("merge", env={"IMAGEFLEET_ENGINE_MAX_PIXELS": str(2 * 64 * 64)}),
            fleet.start("hooks", options=SENDER),
        )
        for worker in workers:
            wait_until_ready(worker)
        yield fleet
