"""Real parts that only integration tests need."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.engines import Engines


@pytest.fixture(scope="session")
def engines() -> Iterator["Engines"]:
    """Engines on the tiny pipelines, loaded once for all tests."""
    from tests.support.engines import Engines  # noqa: PLC0415  # torch takes seconds; most tests do without

    engines = Engines()
    yield engines
    engines.close()
