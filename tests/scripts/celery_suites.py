"""Run the integration tests of Celery and of kombu on our transport and on stock kombu, and print the difference.

python -m tests.scripts.celery_suites FOLDER [FILE ...]

FOLDER is an unpacked source distribution of the installed version of celery or kombu; nothing is fetched. FILE is a
file of its t/integration, such as test_inspect.py; without any, those that need no server but Redis. Both runs have a
Redis of their own, and workers with the pool of threads.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

from tests.support.servers.redis import RedisServer

ROOT: Final = Path(__file__).parents[2]
#: Of Celery: what a worker does, and what is sent to it. Of kombu: what is about Redis.
FILES: Final = {
    "celery": (
        "test_inspect.py",
        "test_tasks.py",
        "test_canvas.py",
        "test_group_chains.py",
        "test_worker.py",
        "test_connection_recovery.py",
    ),
    "kombu": ("test_redis.py", "test_redis_brpop_qos.py"),
}
#: A test that needs child processes hangs with threads, on either transport.
_TEST_S: Final = 60
_SUITE_S: Final = 3600


def main() -> int:
    """Print one table; 0 if both runs came to an end."""
    parser = argparse.ArgumentParser(prog="python -m tests.scripts.celery_suites", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    files = options.files or FILES[folder.name.partition("-")[0]]
    for name in files:
        with ThreadPoolExecutor() as both:  # they wait more than they compute
            stock, ours = both.map(partial(run, folder, name), ("stock", "ours"))
        sys.stdout.write(f"{name}: {summary(stock)} on stock kombu, {summary(ours)} on our transport\n")
        for test in sorted(test for test, result in stock.items() if result == "passed" != ours.get(test)):
            sys.stdout.write(f"  passes only on stock: {test}: {ours.get(test, 'not run')}\n")
        for test in sorted(test for test, result in ours.items() if result == "passed" != stock.get(test)):
            sys.stdout.write(f"  passes only on ours: {test}\n")
        sys.stdout.flush()
    return 0


def summary(results: dict[str, str]) -> str:
    """How many of the tests that ran have passed."""
    counts = Counter(results.values())
    return f"{counts['passed']} of {len(results) - counts['skipped']}"


def run(folder: Path, name: str, transport: str) -> dict[str, str]:
    """The result of each test of t/integration/*name*: passed, failed, error or skipped."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "redis").mkdir()
        report = Path(scratch) / "report.xml"
        with RedisServer(Path(scratch) / "redis") as server:
            command = [sys.executable, "-m", "pytest", f"t/integration/{name}", f"--junit-xml={report}", "-q"]
            # The prefix of keys is a setting here, and not an option of a connection.
            selected = ["-k", "not connection1"] if folder.name.startswith("kombu") else []
            flags = ["-p", "tests.support.celery_suite_plugin", "-p", "celery.contrib.pytest", "-p", "no:cacheprovider"]
            strict = ["-o", "addopts=", "-o", "strict=false", "-W", "ignore"]
            subprocess.run(
                [*command, *selected, *flags, *strict],
                cwd=folder,
                env={**environment(server.url, transport), "SUITE_OF": folder.name, "SUITE_TEST_S": str(_TEST_S)},
                stdout=subprocess.DEVNULL if not os.environ.get("SUITE_SHOW") else None,
                timeout=_SUITE_S,
                check=False,
            )
        return read(report)


def environment(url: str, transport: str) -> dict[str, str]:
    """The variables of one run."""
    place = urlparse(url)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGEFLEET_", "CELERY_"))}
    return {
        **own,
        "IMAGEFLEET_REDIS_URL": url,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "producer", ROOT / "worker"))),
        "REDIS_6379_TCP": str(place.port),
        "REDIS_HOST": str(place.hostname),
        "REDIS_PORT": str(place.port),
        "SUITE_TRANSPORT": transport,
        "TEST_BACKEND": url,
        "TEST_BROKER": url,
    }


def read(report: Path) -> dict[str, str]:
    """The results in *report*, which pytest has written."""
    if not report.exists():
        return {}
    results: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # our own pytest wrote it
        kinds = {child.tag for child in case}
        state = next((each for each in ("failure", "error", "skipped") if each in kinds), "passed")
        results[f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"] = state
    return results


if __name__ == "__main__":
    sys.exit(main())
