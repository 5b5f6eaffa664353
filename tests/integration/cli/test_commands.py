"""The command line: what it prints and the code it ends with."""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from tests.support import command_line
from tests.support.fleet.fake_worker import FakeWorker

from imagefleet import Client, JobStatus
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys

Run = Callable[..., subprocess.CompletedProcess[str]]
CLI = Path(sys.executable).parent / "imagefleet"


@pytest.fixture
def run(redis_url: str) -> Run:
    def run(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return command_line.run(
            *args, stdin=stdin, env={"IMAGEFLEET_REDIS_URL": redis_url, "COLUMNS": "80", **(env or {})}
        )

    return run


def test_the_program_is_a_process_with_these_streams_and_codes(redis_url: str) -> None:
    """Once for all: what the other tests run in this process."""

    def program(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "IMAGEFLEET_REDIS_URL": redis_url}
        return subprocess.run([CLI, *args], input=stdin, env=env, capture_output=True, text=True, check=False)

    queued = program("submit", "--file", "-", stdin='{"prompt": "a", "id": "one"}')
    assert (queued.returncode, queued.stdout) == (0, "one\n")
    assert "no worker serves default" in queued.stderr
    unknown = program("status", "nobody")
    assert (unknown.returncode, unknown.stdout) == (6, "")
    assert "nobody" in unknown.stderr


def test_an_unknown_job_hides_no_other_one(run: Run) -> None:
    run("submit", "a fox", "--id", "one")
    for command in (("status",), ("status", "--json"), ("cancel",), ("result",)):
        done = run(*command, "nobody", "one", "nothing")
        assert "one" in done.stdout, command
        assert (done.returncode, done.stderr.count("no record of job")) == (6, 2), command


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_no_job_is_queued_whose_images_have_no_place(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    done = run("submit", "a fox", "--id", "one", "--out", str(tmp_path / place))
    assert (done.returncode, done.stdout) == (2, "")
    assert "name a folder that this user may write to" in done.stderr
    assert run("status", "one").returncode == 6


def test_a_bad_job_of_a_file_is_named_by_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("prompt,seed\na fox,1\na cat,-1\n")
    done = run("submit", "--file", str(tmp_path / "jobs.csv"))
    assert done.returncode == 2
    assert "jobs.csv line 3: seed: must be 0 or more; it is -1" in " ".join(done.stderr.split())


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[FakeWorker]:
    """A stand-in for a worker, whose images are served over HTTP."""
    folder = tmp_path / "bucket"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server calls
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as web:
        serving = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        url = f"http://127.0.0.1:{web.server_port}"
        with FakeWorker(redis_url, folder=folder, url_of=lambda name: f"{url}/{name}") as fake:
            yield fake
        web.shutdown()
        serving.join()


def test_warnings_are_shown_by_submit_status_and_result(run: Run, worker: FakeWorker, tmp_path: Path) -> None:
    """As sentences for people, and as the result has them for programs."""
    out = tmp_path / "pictures"
    done = run("submit", "warn me", "--id", "one", "--wait")
    assert done.returncode == 0, done.stderr
    sentence = "warning: prompt: text_encoder reads 77 tokens (prompt_truncated)"
    assert sentence in done.stdout
    assert "succeeded one warn me, 1 warning" in done.stderr
    assert f"one: {sentence}" in run("status", "one").stdout
    assert "succeeded, 1 warning" in run("status", "one").stdout
    assert sentence in run("result", "one").stdout
    for command in ("status", "result"):
        (warning,) = json.loads(run(command, "one", "--json").stdout)["warnings"]
        assert (warning["code"], warning["field"], warning["detail"]) == ("prompt_truncated", "prompt", {"limit": 77})
    (line,) = run("submit", "a cat", "--wait", "--json").stdout.splitlines()
    assert "warnings" not in json.loads(line)
    assert run("submit", "warn me", "--out", str(out)).returncode == 0
    assert (out / "contact-sheet.png").exists()


def test_images_and_a_contact_sheet_are_downloaded(run: Run, worker: FakeWorker, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    done = run("submit", "a [dog]", "a cat", "--seed", "7", "--count", "2", "--size", "64x32", "--out", str(out))
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert names == {"001-a-dog-7.png", "001-a-dog-8.png", "002-a-cat-7.png", "002-a-cat-8.png", "contact-sheet.png"}
    assert "[2/2] succeeded" in done.stderr
    assert "a [dog]" in done.stdout
    assert all(str(out / name) in done.stdout for name in names)
    assert "s3://" not in done.stdout, "what was saved is a file"


def test_an_image_that_is_not_the_results_is_not_kept(run: Run, worker: FakeWorker, tmp_path: Path) -> None:
    """The file behind the URL was replaced after its hash was noted."""
    assert worker._folder
    assert worker._url_of
    (worker._folder / "other").write_bytes(b"another file")
    other = worker._url_of("other")
    worker._url_of = lambda _: other
    done = run("submit", "a dog", "--out", str(tmp_path / "pictures"))
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert list((tmp_path / "pictures").iterdir()) == []


def test_json_is_one_line_a_job_and_nothing_else(run: Run, worker: FakeWorker) -> None:
    jobs = '{"prompt": "a", "id": "one"}\n{"prompt": "fail b", "id": "two"}\n'
    done = run("submit", "--file", "-", "--wait", "--json", stdin=jobs)
    results = {result["id"]: result["status"] for result in map(json.loads, done.stdout.splitlines())}
    assert results == {"one": "succeeded", "two": "failed"}
    assert done.stderr == ""
    assert done.returncode == 1


def test_without_waiting_ids_are_printed_in_order(run: Run, redis_url: str) -> None:
    done = run("submit", "a", "b", "--metadata", "user=u=1")
    ids = done.stdout.split()
    with Client(redis_url) as client:
        assert [client.status(job_id) for job_id in ids] == [JobStatus.QUEUED] * 2


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["submit", "x", "--steps", "0", "--size", "9x9"], 2, "steps"),
        (["submit"], 2, "no prompts"),
        (["submit", "a", "b", "--id", "one"], 2, "--id is for one job"),
        (["submit", "x", "--metadata", "novalue"], 2, "KEY=VALUE"),
        (["submit", "x", "--size", "big"], 2, "512x768"),
        (
            ["submit", "x", "--wait", "--timeout", "0.2"],
            4,
            "still queued after 0.2 s, and is not canceled: no worker",
        ),
        (["status", "nobody"], 6, "nobody"),
        (["cancel", "a/b"], 2, "id: must be"),
        (["--redis-url", "redis://127.0.0.1:9/0", "submit", "x"], 3, "127.0.0.1:9"),
        (["--redis-url", "nonsense", "submit", "x"], 78, "URL"),
    ],
)
def test_every_failure_has_its_code_and_a_sentence(run: Run, args: list[str], code: int, said: str) -> None:
    done = run(*args)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_lists_that_are_empty_say_so(run: Run) -> None:
    for command, said in ((("dead", "list"), "no dead letters"), (("webhooks", "list"), "all that were due")):
        done = run(*command)
        assert (done.returncode, done.stdout) == (0, "")
        assert said in done.stderr
        assert run(*command, "--json").stderr == ""


def test_download_urls_are_shown_where_they_are_asked_for(run: Run, worker: FakeWorker) -> None:
    done = run("submit", "a", "--id", "one", "--url", "--expires-in", "10m", "--size", "64x32")
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1" in done.stdout
    assert "s3://" not in done.stdout
    assert "s3://" in run("result", "one").stdout
    assert "http://127.0.0.1" in run("result", "one", "--url").stdout


def test_a_redis_that_is_not_there_is_said_with_the_way_out(run: Run) -> None:
    said = run("--redis-url", "redis://127.0.0.1:9/0", "queues").stderr
    assert "nothing listens there. Is IMAGEFLEET_REDIS_URL right? `imagefleet up`" in said


def test_a_full_queue_has_its_own_code(run: Run) -> None:
    assert run("submit", "a", "b", env={"IMAGEFLEET_MAX_QUEUED": "1"}).returncode == 5


def test_another_job_under_a_taken_id_is_wrong_usage(run: Run) -> None:
    run("submit", "a", "--id", "one")

    refused = run("submit", "b", "--id", "one")

    assert refused.returncode == 2
    assert "another job has the id one" in refused.stderr
    assert run("submit", "a", "--id", "one").returncode == 0


def test_a_job_can_be_looked_at_and_canceled(run: Run) -> None:
    run("submit", "a", "--id", "one")
    assert json.loads(run("status", "one", "--json").stdout)["status"] == "queued"
    assert run("result", "one").returncode == 4
    assert run("cancel", "one").stdout == "one canceled\n"
    ended = run("result", "one", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"]["code"] == "canceled"


def test_a_webhook_that_no_sender_has_tried_is_shown(run: Run) -> None:
    """It was queued in the step that ended the job."""
    run("submit", "a", "--id", "one", "--webhook", "https://hooks.example.com")
    assert "webhook" not in run("status", "one").stdout
    run("cancel", "one")
    assert "one: webhook job.canceled: queued; no sender has tried it yet" in run("status", "one").stdout
    (webhook,) = json.loads(run("status", "one", "--json").stdout)["webhooks"]
    assert (webhook["event"], webhook["state"], webhook["attempts"]) == ("job.canceled", "queued", 0)


def test_the_schema_is_json_schema(run: Run) -> None:
    assert json.loads(run("schema", "job").stdout)["properties"]["prompt"]
    assert set(json.loads(run("schema").stdout)) == {"job", "result", "event"}


def test_a_dead_letter_is_listed_shown_replayed_and_purged(run: Run, redis_url: str) -> None:
    keys = Keys()
    letters = [
        DeadLetter(
            job_id=f"job-{n}", reason="poisoned", message="fell [silent]", list_key="imagefleet.default", original="{}"
        )
        for n in range(3)
    ]
    with redis.Redis.from_url(redis_url) as raw:
        for letter in letters:
            raw.execute_command(*dead_letters.add(keys, letter, most=10, ttl_s=60))
    assert "fell [silent]" in run("dead", "list").stdout
    assert json.loads(run("dead", "show", letters[0].id).stdout)["job_id"] == "job-0"
    assert run("dead", "replay", letters[0].id).returncode == 0
    assert run("dead", "replay", letters[0].id).returncode == 6
    with Client(redis_url) as client:
        assert client.queue_length() == 1
    assert run("dead", "purge").returncode == 2
    assert run("dead", "purge", letters[1].id).stdout == "1 deleted\n"
    assert run("dead", "purge", "--all").stdout == "1 deleted\n"
    assert run("dead", "list", "--json").stdout == ""
