"""The README: its code runs as it stands there, on a real fleet, and its table is that of the worker."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from tests.packaging.conftest import ROOT, call
from tests.support.fleet import Fleet, running_fleet
from tests.support.waiting import wait_until

from imagefleet_worker.commands import settings_as_markdown

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with one worker."""
    with running_fleet(tmp_path_factory.mktemp("readme")) as fleet:
        fleet.worker()
        yield fleet


def test_settings_table_is_that_of_the_worker() -> None:
    """`imagefleet-worker settings --markdown` prints what stands between the marks."""
    table = re.search(r"^<!-- settings:.*?-->\n(.*?)^<!-- end of settings -->$", README, re.DOTALL | re.MULTILINE)
    assert table is not None
    assert table[1].strip() == settings_as_markdown().strip()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_code_runs_as_it_stands(number: int, fleet: Fleet, tmp_path: Path) -> None:
    """Only the address of Redis is replaced."""
    code = BLOCKS[number].replace("redis://127.0.0.1:6379/0", fleet.redis.url)
    code = code.replace("redis.Redis()", f"redis.Redis.from_url({fleet.redis.url!r})")
    call(sys.executable, "-W", "error", "-c", code, cwd=tmp_path, timeout_s=120)


def test_message_made_by_hand_becomes_an_image(fleet: Fleet, tmp_path: Path) -> None:
    (code,) = [block for block in BLOCKS if "lpush" in block]
    code = code.replace("redis.Redis()", f"redis.Redis.from_url({fleet.redis.url!r})") + "\nprint(job_id)"
    job_id = call(sys.executable, "-c", code, cwd=tmp_path).strip()
    with redis_py.Redis.from_url(fleet.redis.url, decode_responses=True) as client:
        wait_until(lambda: client.exists(f"imagefleet:job:{job_id}"), 60)
    with fleet.client() as client:
        assert client.result(job_id, timeout_s=60).raise_for_status().artifacts[0].uri.startswith("s3://")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([A-Z]+(?:\.md)?)\)", README))))
def test_linked_files_are_there(link: str) -> None:
    assert (ROOT / link).is_file()
