"""Everything that can break round a job in the middle of it, with real processes, signals and servers.

Each test breaks one of two workers or what they lean on, and looks at what a user gets. Lines that begin with
`measured` (pytest -rP shows them) are where the table in docs/faults.md has its times from.
"""

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.support.pair import (
    DEVICE_TIMEOUT_S,
    DRAIN_S,
    JOB,
    KEYS,
    LEASE_S,
    REDELIVERED_WITHIN_S,
    WEBHOOK,
    Pair,
    running_pair,
    stopped,
)
from tests.support.fleet.processes import wait_until_ready
from tests.support.servers.flaky_s3_proxy import FAIR, Fault, Weather
from tests.support.waiting import wait_until

from imagefleet import JobNotFound, JobStatus, QueueUnavailable
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.webhooks import Event
from imagefleet_worker.exit_codes import ExitCode

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.fixture(scope="module")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with running_pair(tmp_path_factory.mktemp("faults")) as pair:
        pair.renew()
        yield pair


@pytest.fixture
def pair(_fleet: Pair) -> Generator[Pair]:
    """Two workers that are up, and everything round them in order again when the test is over."""
    _fleet.workers()
    yield _fleet
    _fleet.s3.weather, _fleet.s3.holds_answers_of = FAIR, ""
    _fleet.hang_file.unlink(missing_ok=True)
    _fleet.renew()  # while the next test begins


def measured(what: str, seconds: float) -> None:
    """Print a time for the table of faults."""
    print(f"measured {what}: {seconds:.1f} s")


def test_a_killed_workers_job_is_made_by_another(pair: Pair) -> None:
    """After one lease, as attempt 2, with one result."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        victim.kill()
    measured("kill -9 of a worker, until another has the job", pair.wait_for_holder(job_id, other))

    result = pair.the_one_result(job_id)

    assert (2, other.name) == (result.attempts, str(result.worker).split("@")[0])


def test_a_worker_that_was_stopped_past_its_lease_reports_nothing(pair: Pair) -> None:
    """It finds the job in another's hands, and neither uploads nor calls back."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        victim.send(signal.SIGSTOP)
    try:
        taken_s = pair.wait_for_holder(job_id, other)
        measured("SIGSTOP of a worker, until another has the job", taken_s)
        result = pair.the_one_result(job_id)
        before = {key: pair.object(key)["LastModified"] for key in pair.keys(job_id)}
    finally:
        victim.send(signal.SIGCONT)

    wait_until(lambda: says_that_it_left(victim.output(), job_id), 20)

    assert taken_s < REDELIVERED_WITHIN_S
    assert str(result.worker).startswith(f"{other.name}@")
    assert before == {key: pair.object(key)["LastModified"] for key in pair.keys(job_id)}
    assert pair.webhooks(result) == 1


def test_a_worker_that_was_stopped_in_the_middle_of_an_upload_leaves_what_the_other_stored(pair: Pair) -> None:
    """It begins no further upload, and removes the object whose upload was on its way. Its files have other bytes."""
    stopped_one = pair.start(env={"IMAGEFLEET_ENCODING_PNG_LEVEL": "9"})
    wait_until_ready(stopped_one)
    first, second = pair.workers()
    uploads = pair.s3.counts[Fault.DELAY]
    with stopped(first), stopped(second):
        pair.s3.weather = Weather(delay=1, delay_s=3 * LEASE_S)
        job_id = pair.client.submit(JOB, steps=4, num_images=2, webhook=WEBHOOK)
        wait_until(lambda: pair.s3.counts[Fault.DELAY] > uploads, 30)
        stopped_one.send(signal.SIGSTOP)
        pair.s3.weather = FAIR
    try:
        result = pair.the_one_result(job_id)
        named = set(pair.keys(job_id))
        wait_until(lambda: set(pair.keys(job_id)) - named, 20)  # S3 has what the stopped one had sent
    finally:
        stopped_one.send(signal.SIGCONT)
    wait_until(lambda: says_that_it_left(stopped_one.output(), job_id), 20)

    assert pair.the_one_result(job_id) == result
    assert str(result.worker).split("@")[0] in {first.name, second.name}
    for artifact in result.artifacts:
        stored = pair.object(artifact.uri.split(f"{pair.fleet.s3.bucket}/")[1])["Body"].read()
        assert hashlib.sha256(stored).hexdigest() == artifact.sha256
    stopped_one.kill()


def says_that_it_left(log: str, job_id: str) -> bool:
    """The log says that the job was left to another worker."""
    return any("job left to another worker" in line and job_id in line for line in log.splitlines())


def test_a_redelivered_job_whose_manifest_exists_makes_no_image(pair: Pair) -> None:
    """The worker died between the manifest and the record of the end: the next one publishes what is there."""
    victim, other = pair.workers()
    with stopped(other):
        pair.s3.holds_answers_of = "/result.json"
        job_id = pair.begin(victim)
        wait_until(lambda: f"images/{job_id}/result.json" in pair.keys(job_id), 30)
        victim.kill()
        pair.s3.holds_answers_of = ""
    before = {key: pair.object(key)["LastModified"] for key in pair.keys(job_id)}
    start = time.monotonic()

    heard = [event for event in pair.client.events(job_id, timeout_s=60) if pair.holder(job_id) == other.name]
    measured("death after the manifest, until the result is there", time.monotonic() - start)
    result = pair.the_one_result(job_id)

    assert not any(event.progress for event in heard)
    assert str(result.worker).startswith(f"{victim.name}@")  # who made the images
    assert before == {key: pair.object(key)["LastModified"] for key in pair.keys(job_id)}


def test_a_job_that_kills_each_worker_is_put_aside(pair: Pair) -> None:
    """Failed as poisoned, heard of by link_error and webhook, kept as a dead letter that can be replayed."""
    link_error = {"task": "foreign.failed", "args": [], "kwargs": {}, "options": {"queue": "poison-errors"}}
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim, link_error=link_error)
        victim.kill()
    pair.wait_for_progress(job_id, other)
    other.kill()
    pair.workers()
    start = time.monotonic()

    result = pair.client.result(job_id, timeout_s=60)
    measured("a worker is there again after the second kill, until the job is put aside", time.monotonic() - start)

    assert result.error
    assert (result.status, result.error.code) == ("failed", "poisoned")
    assert pair.webhooks(result) == 1
    with pair.fleet.raw() as raw:
        assert "foreign.failed" in str(wait_until(lambda: raw.rpop("poison-errors"), 10))
        letters = [DeadLetter.model_validate_json(text) for text in raw.hvals(KEYS.dead)]
        (letter,) = [letter for letter in letters if letter.job_id == job_id]
        assert (letter.reason, letter.attempts) == ("poisoned", 2)
        assert all(f"{number}. {child.name}@" in letter.message for number, child in ((1, victim), (2, other)))
        assert letter.message.count("with no other job, at step ") == 2
        assert json.loads(json.loads(letter.original)["body"])[1]["job"]["prompt"] == JOB["prompt"]
        assert raw.execute_command(*dead_letters.replay(KEYS, letter)) == 1
        wait_until(lambda: raw.exists(KEYS.job(job_id)), 30)
    assert pair.client.result(job_id, timeout_s=60).status == JobStatus.SUCCEEDED


def test_s3_that_is_away_for_a_while_costs_no_second_render(pair: Pair) -> None:
    """The images wait on disk, in the hands of their worker; only their upload is tried again."""
    victim, other = pair.workers()
    with stopped(other):
        pair.s3.weather = Weather(slow_down=1)
        job_id = pair.client.submit(JOB, steps=4, num_images=2, webhook=WEBHOOK)
        wait_until(lambda: victim.output().count("waiting for S3") >= 3, 30)
        assert pair.spooled(job_id)
        assert pair.claimed(job_id)
        pair.s3.weather = FAIR
        start = time.monotonic()
        result = pair.the_one_result(job_id)

    measured("S3 well again, until the job has succeeded", time.monotonic() - start)
    assert (result.attempts, pair.renders_repeated(job_id), pair.spooled(job_id)) == (1, 0, [])
    assert victim.is_running


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_while_s3_is_away_leaves_its_images_to_the_next(pair: Pair, how: signal.Signals) -> None:
    """On the same machine nothing is rendered again, after a drain and after a crash."""
    victim, other = pair.workers()
    with stopped(other):
        pair.s3.weather = Weather(slow_down=1)
        job_id = pair.client.submit(JOB, steps=4, webhook=WEBHOOK)
        wait_until(lambda: pair.spooled(job_id), 30)
        victim.send(how)
        wait_until(lambda: not victim.is_running, 30)
    pair.wait_for_holder(job_id, other)
    pair.s3.weather = FAIR

    result = pair.the_one_result(job_id)

    assert str(result.worker).startswith(f"{victim.name}@")  # who made the images
    assert (result.attempts, pair.renders_repeated(job_id), pair.spooled(job_id)) == (2, 0, [])


def empty(folder: Path) -> None:
    """What a cleaner of /tmp does."""
    for each in folder.iterdir():
        each.unlink()


def damage(folder: Path) -> None:
    """What a disk does that is full, or that loses its power."""
    (folder / "0").write_bytes(b"")


@pytest.mark.parametrize("harm", [shutil.rmtree, empty, damage])
def test_images_whose_files_are_gone_or_changed_are_made_again(pair: Pair, harm: Callable[[Path], None]) -> None:
    """While S3 is away; the job is not lost, and no result names a file that is not the image."""
    _, other = pair.workers()
    with stopped(other):
        pair.s3.weather = Weather(slow_down=1)
        job_id = pair.client.submit(JOB, steps=4, webhook=WEBHOOK)
        (folder,) = wait_until(lambda: pair.spooled(job_id), 30)
        harm(folder)
        pair.s3.weather = FAIR

        result = pair.the_one_result(job_id)

    assert (result.attempts, pair.spooled(job_id)) == (2, [])


def test_nothing_is_claimed_while_the_spool_is_full(pair: Pair) -> None:
    """The device would make images that nobody can keep."""
    small = pair.start(env={"IMAGEFLEET_STORAGE_SPOOL_MB": "0.001"})
    wait_until_ready(small)
    with stopped(pair.workers()[0]), stopped(pair.workers()[1]):
        pair.s3.weather = Weather(slow_down=1)
        first = pair.client.submit(JOB, steps=4, webhook=WEBHOOK)
        wait_until(lambda: pair.spooled(first), 30)
        second = pair.client.submit(JOB, steps=4, webhook=WEBHOOK)
        tries = small.output().count("waiting for S3")
        wait_until(lambda: small.output().count("waiting for S3") >= tries + 2, 30)
        assert pair.client.status(second) == JobStatus.QUEUED
        pair.s3.weather = FAIR

        assert [pair.the_one_result(job_id).attempts for job_id in (first, second)] == [1, 1]
    small.kill()


def test_a_job_whose_images_nobody_took_for_its_time_fails(pair: Pair) -> None:
    """By the clock; its files are removed from the disk."""
    short = pair.start(env={"IMAGEFLEET_WORKER_RETRY_FOR_S": "2"})
    wait_until_ready(short)
    with stopped(pair.workers()[0]), stopped(pair.workers()[1]):
        pair.s3.weather = Weather(slow_down=1)
        job_id = pair.client.submit(JOB, steps=4)
        wait_until(lambda: pair.spooled(job_id), 30)

        result = pair.client.result(job_id, timeout_s=30)

    assert result.error
    assert (result.error.code, result.attempts, pair.spooled(job_id)) == ("storage_unavailable", 1, [])
    short.kill()


def test_s3_that_refuses_fails_a_job_after_one_more_try(pair: Pair) -> None:
    """The worker that was refused may have been at fault; where all are refused, no retry helps."""
    pair.s3.weather = Weather(denied=1)
    wait_until(lambda: [each.state for each in pair.client.workers()] == ["ready", "ready"], 10)
    start = time.monotonic()
    result = pair.client.result(pair.client.submit(JOB, steps=4), timeout_s=30)
    measured("S3 refuses, until the job has failed", time.monotonic() - start)

    assert result.error
    assert (result.error.code, result.error.retryable, result.attempts) == ("storage_refused", False, 2)


def test_a_restart_of_redis_costs_no_job(pair: Pair) -> None:
    """With AOF: the running one ends once, at its first attempt; the waiting ones follow."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        waiting = pair.client.submit(JOB, steps=4, webhook=WEBHOOK)
        pair.fleet.redis.kill()
        pair.fleet.redis.start()
        start = time.monotonic()
        result = pair.the_one_result(job_id)
        measured("Redis killed and restarted, until the running job has ended", time.monotonic() - start)

    assert result.attempts == 1
    assert pair.the_one_result(waiting).attempts == 1
    assert victim.is_running


def test_a_redis_that_comes_back_empty_loses_what_it_held_and_no_worker(pair: Pair) -> None:
    """Without AOF a crash of Redis takes every record with it: the workers drop what is nobody's, and take new jobs."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        pair.fleet.redis.kill()
        shutil.rmtree(pair.fleet.redis.folder / "appendonlydir")
        pair.fleet.redis.start()
        start = time.monotonic()
        following = pair.the_one_result(pair.client.submit(JOB, steps=4, webhook=WEBHOOK))
        measured("Redis killed and back without its data, until a new job has ended", time.monotonic() - start)

    with pytest.raises(JobNotFound):
        pair.client.get(job_id)
    assert following.attempts == 1
    assert victim.is_running


def test_a_job_that_ends_while_redis_is_away_has_succeeded(pair: Pair) -> None:
    """Its images are stored and its end is recorded when Redis is back, five seconds after it went.

    Its lease may be another's by then for all that its worker knows; so nothing is written meanwhile.
    """
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        pair.fleet.redis.kill()
        gone = time.monotonic()
        with pytest.raises(QueueUnavailable):
            pair.client.submit(JOB)
        measured("submit to a Redis that is away, until the error", time.monotonic() - gone)
        wait_until(lambda: time.monotonic() - gone > 5)
        pair.fleet.redis.start()
        start = time.monotonic()
        result = pair.the_one_result(job_id)
        measured("Redis back after 5 s, until the job that ended meanwhile has succeeded", time.monotonic() - start)

    assert result.attempts == 1
    assert victim.is_running


def test_cut_connections_do_not_run_a_job_twice(pair: Pair) -> None:
    """CLIENT KILL in the middle of a job, twice."""
    victim, other = pair.workers()
    with stopped(other), pair.fleet.raw() as raw:
        job_id = pair.begin(victim)
        for _ in range(2):
            raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            done = pair.client.get(job_id).progress
            wait_until(lambda done=done: pair.client.get(job_id).progress != done, 20)
        result = pair.the_one_result(job_id)

    assert result.attempts == 1
    assert victim.is_running


def test_half_open_connections_are_noticed(pair: Pair) -> None:
    """A network that swallows packets: the running job ends once, and the next one is taken."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
    assert pair.proxy.black_hole() > 2
    start = time.monotonic()

    result = pair.the_one_result(job_id)
    measured("half-open connections, until the running job has ended", time.monotonic() - start)
    following = pair.the_one_result(pair.client.submit(JOB, steps=4, webhook=WEBHOOK))
    measured("half-open connections, until the following job has ended", time.monotonic() - start)

    assert result.attempts <= 2
    assert following.attempts == 1
    assert all(child.is_running for child in pair.workers())


def test_a_full_redis_is_a_clear_error_and_no_end(pair: Pair) -> None:
    """Producers hear of it; the workers live and record how running jobs end, for that begins with a removal."""
    victim, other = pair.workers()
    with stopped(other), pair.fleet.raw() as raw:
        job_id = pair.begin(victim)
        raw.config_set("maxmemory", "1")
        try:
            with pytest.raises(QueueUnavailable, match="maxmemory"):
                pair.client.submit(JOB)
            wait_until(lambda: f"images/{job_id}/result.json" in pair.keys(job_id), 30)
            start = time.monotonic()
            pair.the_one_result(job_id)
            measured("full Redis, from the manifest until the job has succeeded", time.monotonic() - start)
        finally:
            raw.config_set("maxmemory", "0")
        pair.the_one_result(pair.client.submit(JOB, steps=4, webhook=WEBHOOK))

    assert victim.is_running


def test_sigquit_hands_back_at_once(pair: Pair) -> None:
    """The job is another's before the lease would have run out; the exit code is 0."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        start = time.monotonic()
        victim.send(signal.SIGQUIT)
        assert victim.wait(10) == ExitCode.OK
    pair.wait_for_holder(job_id, other)
    taken_s = time.monotonic() - start
    measured("SIGQUIT, until another has the job", taken_s)

    assert pair.the_one_result(job_id).attempts == 2
    assert taken_s < LEASE_S


def test_a_drain_hands_back_what_does_not_fit(pair: Pair) -> None:
    """Within a second of the deadline another worker makes it, and the exit code is 0."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim, steps=200)
        start = time.monotonic()
        victim.send(signal.SIGTERM)
        assert victim.wait(10) == ExitCode.OK
        ended_s = time.monotonic() - start
    measured("SIGTERM with a drain of 2 s, until the process has ended", ended_s)
    pair.wait_for_holder(job_id, other)

    assert DRAIN_S < ended_s < DRAIN_S + 1
    assert time.monotonic() - start < DRAIN_S + 1
    assert pair.the_one_result(job_id).attempts == 2


def test_a_hung_device_ends_the_process(pair: Pair) -> None:
    """With its own code, after the time that a device may be silent; the job goes to another worker."""
    victim, other = pair.workers()
    with stopped(other):
        job_id = pair.begin(victim)
        pair.hang_file.touch()
        start = time.monotonic()
        code = victim.wait(30)
        ended_s = time.monotonic() - start
        pair.hang_file.unlink()
    measured("a device that hangs (limit 8 s), until the process has ended", ended_s)

    assert code == ExitCode.DEVICE_HUNG
    assert DEVICE_TIMEOUT_S < ended_s + 1 < DEVICE_TIMEOUT_S + 4
    assert pair.the_one_result(job_id).attempts == 2


def test_a_job_that_nobody_waits_for_any_more_expires(pair: Pair) -> None:
    """With a status and an event of its own, and no image."""
    late = datetime.now(UTC) - timedelta(seconds=1)
    job_id = pair.client.submit(JOB, deadline=late, webhook=WEBHOOK)

    result = pair.client.result(job_id, timeout_s=30)

    assert result.status == JobStatus.EXPIRED
    assert Event.for_result(result).type == "job.expired"
    assert pair.webhooks(result) == 1
    assert not pair.keys(job_id)


def test_a_clock_that_jumps_loses_no_lease(pair: Pair, tmp_path: Path) -> None:
    """Leases go by the clock of Redis: a worker whose own jumps by an hour and back keeps its job."""
    if FAKETIME is None:
        pytest.skip("no libfaketime (apt install faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    env = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    jumping = pair.start(env=env)
    wait_until_ready(jumping)
    victim, other = pair.workers()
    with stopped(victim), stopped(other):
        job_id = pair.begin(jumping, steps=150)
        for jump in ("+1h", "-1h", "+0"):
            clock.write_text(jump)
            done = pair.client.get(job_id).progress
            wait_until(lambda done=done: pair.client.get(job_id).progress != done, 20)
        result = pair.client.result(job_id, timeout_s=60)
    jumping.stop()

    assert pair.the_one_result(job_id).attempts == 1
    assert str(result.worker).startswith(f"{jumping.name}@")
