"""Make the reference pages of docs/ and the chart's settings from the code, or check that they are fresh.

python -m tests.scripts.make_reference [--check]
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.scripts import make_chart_schema
from tests.scripts.reference import (
    celery_page,
    client_page,
    errors_page,
    events_page,
    jobs_page,
    results_page,
    settings_page,
)

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings_page.make,
    "jobs.md": jobs_page.make,
    "results.md": results_page.make,
    "events.md": events_page.make,
    "errors.md": errors_page.make,
    "client.md": client_page.make,
    "celery.md": celery_page.make,
}


def stale() -> list[str]:
    """The names of the pages that are not what the code makes of them."""
    return [name for name, make in PAGES.items() if _read(DOCS / name) != make()]


def main() -> int:
    """Write all pages; with --check write none, and fail where one is stale."""
    if "--check" in sys.argv[1:]:
        names = [*stale(), *make_chart_schema.stale()]
        if names:
            sys.stderr.write(f"stale: {', '.join(names)}; run: python -m tests.scripts.make_reference\n")
        return int(bool(names))
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
    make_chart_schema.write()
    return 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
