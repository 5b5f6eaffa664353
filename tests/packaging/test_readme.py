"""The README, docs/ and the services of examples/: as they stand there, on the fleet of the README's quick start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis as redis_py
from tests.packaging.conftest import ROOT, call
from tests.scripts.reference.client_examples import EXAMPLES, PREAMBLE
from tests.support.fleet.processes import clean_environment
from tests.support.models.tiny_pipelines import build
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.client.settings import ClientSettings
from imagefleet_worker.local.command import REDIS_PORT
from imagefleet_worker.supervision.child_process import free_port, is_taken

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name}-{number}": code
    for page in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE))
}
UP, SUBMIT = re.findall(r"^(imagefleet (?:up|submit) .*?)(?: +#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class QuickStart:
    """The fleet of the quick start, as the reader's other terminal sees it."""

    folder: Path
    #: What `up` told the reader to export.
    exports: dict[str, str]
    #: Whether the usual port of Redis was in use when it started.
    was_taken: bool

    def run(self, *command: str) -> str:
        """What *command* prints."""
        return call(*command, cwd=self.folder, env=self.exports, timeout_s=240)

    def python(self, code: str) -> str:
        """What *code* prints; a warning is an error."""
        return self.run(sys.executable, "-W", "error", "-c", code)

    def redis(self) -> "redis_py.Redis":
        """A plain client of its Redis."""
        return redis_py.Redis.from_url(self.exports["IMAGEFLEET_REDIS_URL"], decode_responses=True)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickStart]:
    """The first command of the quick start, in a folder where `./my-model` is a tiny Stable Diffusion."""
    folder = tmp_path_factory.mktemp("readme")
    build("sd", folder / "my-model")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    small = {"IMAGEFLEET_MODEL_DEFAULT_STEPS": "2", "IMAGEFLEET_MODEL_DEFAULT_SIZE": "64x64"}
    env = {**clean_environment(), **small, "PATH": programs, "CUDA_VISIBLE_DEVICES": ""}
    out, err = folder / "up.out", folder / "up.err"
    was_taken = is_taken(REDIS_PORT)
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(UP.split(), cwd=folder, env=env, stdout=stdout, stderr=stderr)
    try:
        wait_until(lambda: process.poll() is not None or "imagefleet submit" in err.read_text(), 150)
        assert process.poll() is None, err.read_text()
        exports = dict(re.findall(r"^export (\w+)='?(.*?)'?$", out.read_text(), re.MULTILINE))
        yield QuickStart(folder, {**exports, "PATH": programs}, was_taken)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_quick_start_makes_pictures(fleet: QuickStart) -> None:
    """As written but for the size, which takes a tiny model on a CPU minutes."""
    fleet.run("sh", "-c", SUBMIT.replace("512x512", "64x64"))
    pictures = sorted(path.suffix for path in (fleet.folder / "pictures").glob("*lighthouse*"))
    assert pictures == [".png"] * 4


def test_quick_start_is_where_clients_look_unless_that_port_is_taken(fleet: QuickStart) -> None:
    is_usual = fleet.exports["IMAGEFLEET_REDIS_URL"] == ClientSettings().url
    assert is_usual or fleet.was_taken or is_taken(REDIS_PORT), "that port was free"


@pytest.mark.parametrize("name", BLOCKS)
def test_python_code_runs_as_it_stands(name: str, fleet: QuickStart) -> None:
    fleet.python(BLOCKS[name])


def test_examples_of_the_client_run_one_after_the_other(fleet: QuickStart) -> None:
    """The lines of docs/client.md, and what stands before them."""
    page = (ROOT / "docs" / "client.md").read_text()
    assert all(f"```py\n{line}\n```" in page for line in EXAMPLES.values())
    assert "s3://" in fleet.python(PREAMBLE + "\n".join(EXAMPLES.values()))


def test_message_made_by_hand_becomes_an_image(fleet: QuickStart) -> None:
    (code,) = [block for block in BLOCKS.values() if "lpush" in block]
    job_id = fleet.python(code).strip()
    with fleet.redis() as client:
        wait_until(lambda: client.exists(f"imagefleet:job:{job_id}"), 60)
    with Client(fleet.exports["IMAGEFLEET_REDIS_URL"]) as client:
        assert client.result(job_id, timeout_s=60).raise_for_status().artifacts[0].uri.startswith("s3://")


@contextmanager
def running(*command: str, env: dict[str, str], folder: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends in order when it is asked to."""
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=output, stderr=output)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM), (folder / log).read_text()
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return bool(httpx.get(url, trust_env=False).status_code)
    except httpx.TransportError:
        return False


def test_fastapi_service_does_what_it_promises(fleet: QuickStart) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**fleet.exports, "SERVICE_WEBHOOK_URL": f"{url}/webhook", "PYTHONPATH": str(ROOT / "examples" / "fastapi")}
    command = (sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--timeout-graceful-shutdown", "5")
    with (
        running(*command, env=env, folder=fleet.folder, log="service.log"),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as web,
    ):
        wait_until(lambda: answers(f"{url}/images/none"), 60)
        job, key = {"prompt": "a paper boat", "num_images": 2}, {"Idempotency-Key": "order-1"}
        assert [web.post("/images", json=job, headers=key).json() for _ in range(2)] == [{"id": "order-1"}] * 2
        with web.stream("GET", "/images/order-1/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            assert [line for line in events.iter_lines() if line.startswith("event:")][-1] == "event: succeeded"
        seen = wait_until(lambda: (found := web.get("/images/order-1").json())["announced"] and found, 60)
        assert seen == {
            "status": "succeeded",
            "pictures": ["/images/order-1/0", "/images/order-1/1"],
            "announced": "job.succeeded",
        }
        for picture in seen["pictures"]:
            answer = web.get(picture, follow_redirects=True)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert web.post("/images", json={"prompt": "a fox"}, headers=key).status_code == 409
        refused = {
            ("GET", "/images/none"): (404, "job_not_found"),
            ("POST", "/images"): (422, "invalid_job"),
            ("POST", "/webhook"): (400, "invalid_signature"),
        }
        for (method, path), (status, code) in refused.items():
            answer = web.request(method, path, json={"prompt": "a", "steps": 0})
            assert (answer.status_code, answer.json()["error"]) == (status, code)


def test_django_gallery_keeps_what_links_and_chords_bring(fleet: QuickStart) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    source = ROOT / "examples" / "django-celery"
    env = {**fleet.exports, "PYTHONPATH": str(source)}
    web = (sys.executable, str(source / "gallery.py"), "runserver", "--noreload", f"127.0.0.1:{port}")
    worker = (sys.executable, "-m", "celery", "-A", "gallery", "worker", "-Q", "gallery", "--pool", "solo")
    with running(*web, env=env, folder=fleet.folder, log="django.log"):
        wait_until(lambda: answers(f"{url}/images"), 60)
        with running(*worker, env=env, folder=fleet.folder, log="celery.log"):
            for path, form in (
                ("/images", {"prompt": "a fox"}),
                ("/albums", {"prompt": ["a hare", "a mole"], "album": "animals"}),
            ):
                assert httpx.post(f"{url}{path}", data=form, trust_env=False).status_code == 202
            pictures = wait_until(
                lambda: len(found := httpx.get(f"{url}/images", trust_env=False).json()["pictures"]) == 3 and found, 120
            )
    assert sorted((each["prompt"], each["album"]) for each in pictures) == [
        ("a fox", ""),
        ("a hare", "animals"),
        ("a mole", "animals"),
    ]
    assert all(each["uri"].startswith("s3://images/") for each in pictures)


@pytest.mark.parametrize("service", ["fastapi/service.py", "django-celery/gallery.py"])
def test_each_service_is_short(service: str) -> None:
    assert len((ROOT / "examples" / service).read_text().splitlines()) < 80
