"""Device groups under fire: never is half of one left, and its job is made by another worker."""

import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.fleet.device_groups import end_group, group_environment, has_ended, program, ranks, start_group
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import clean_environment, wait_until_ready
from tests.support.models.tiny_pipelines import build
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract.results import JobStatus
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

JOB = {"prompt": "a lighthouse at dusk", "seed": 3}
TIMEOUT_S = 5
NUMBERS = itertools.count()  # each process has a name, and so a log, of its own
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), family="flux") as fleet:
        yield fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with fleet.client() as client:
        yield client


class Group:
    """A group that takes jobs, and its ranks."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.ranks = ranks(child)

    def begin(self, client: Client, *, steps: int = 200) -> str:
        """The id of a job that is some steps on its way."""
        job_id = client.submit(JOB, steps=steps)
        wait_until(lambda: client.get(job_id).progress, 30)
        return job_id

    def is_gone(self) -> bool:
        """No rank is left."""
        return all(has_ended(process) for process in self.ranks.values())


@pytest.fixture
def start(fleet: Fleet) -> Iterator[Callable[..., Group]]:
    """Starts groups, and ends what is left of them."""
    groups: list[Group] = []

    def start(launcher: Sequence[str] | None = None, **env: str) -> Group:
        values = {**group_environment("context", timeout_s=TIMEOUT_S), **env}
        child = start_group(fleet, values, name=f"group{next(NUMBERS)}", launcher=launcher)
        try:
            wait_until_ready(child, 200)
        finally:
            groups.append(Group(child))
        return groups[-1]

    yield start
    for group in groups:
        end_group(group.child, group.ranks)


def made_elsewhere(fleet: Fleet, client: Client, job_id: str) -> None:
    """Another worker makes the job in its second attempt."""
    worker = fleet.worker(f"other{next(NUMBERS)}")
    result = client.result(job_id, timeout_s=60)
    worker.stop(30)
    assert (result.status, result.attempts) == (JobStatus.SUCCEEDED, 2)
    assert str(result.worker).startswith("other")


def test_a_killed_follower_ends_its_group(fleet: Fleet, client: Client, start: Callable[..., Group]) -> None:
    """With the code that says so; its job is redelivered."""
    group = start()
    job_id = group.begin(client)
    group.ranks[1].send_signal(signal.SIGKILL)

    assert group.child.wait(TIMEOUT_S + 10) == ExitCode.DEVICE_GROUP_BROKEN
    assert group.is_gone()
    assert "the device group is broken: rank 1 has ended" in group.child.output()
    made_elsewhere(fleet, client, job_id)


def test_a_killed_follower_ends_an_idle_group(start: Callable[..., Group]) -> None:
    """Before a job finds out."""
    group = start()
    group.ranks[1].send_signal(signal.SIGKILL)

    assert group.child.wait(TIMEOUT_S + 10) == ExitCode.DEVICE_GROUP_BROKEN
    assert group.is_gone()


def test_a_follower_that_hangs_ends_its_group(fleet: Fleet, client: Client, start: Callable[..., Group]) -> None:
    """Within the timeout, and the stopped process does not stay behind."""
    group = start()
    job_id = group.begin(client)
    group.ranks[1].send_signal(signal.SIGSTOP)

    assert group.child.wait(TIMEOUT_S + 10) == ExitCode.DEVICE_GROUP_BROKEN
    assert group.is_gone()
    assert f"rank 1 has been silent for {TIMEOUT_S} s" in group.child.output()
    made_elsewhere(fleet, client, job_id)


def test_a_killed_leader_leaves_no_follower(fleet: Fleet, client: Client, start: Callable[..., Group]) -> None:
    """They notice by themselves, and the command ends with the code of a broken group."""
    group = start()
    job_id = group.begin(client)
    group.ranks[0].send_signal(signal.SIGKILL)

    assert group.child.wait(TIMEOUT_S + 10) == ExitCode.DEVICE_GROUP_BROKEN
    assert group.is_gone()
    assert "the device group is broken: the leader has ended" in group.child.output()
    made_elsewhere(fleet, client, job_id)


def test_sigquit_hands_the_job_back_at_once(fleet: Fleet, client: Client, start: Callable[..., Group]) -> None:
    """As with any worker; the followers are sent home in the middle of it."""
    group = start()
    job_id = group.begin(client)
    group.child.send(signal.SIGQUIT)

    assert group.child.wait(20) == ExitCode.OK
    assert group.is_gone()
    assert "follower leaves" in group.child.output()
    made_elsewhere(fleet, client, job_id)


LAUNCHERS = {
    "torchrun": [program("torchrun"), "--nproc-per-node", "2"],
    "accelerate": [program("accelerate"), "launch", "--multi_gpu", "--num_processes", "2"],
}


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_launchers_that_people_have_start_a_group(client: Client, start: Callable[..., Group], launcher: str) -> None:
    """Ranks come from their environment; a job is made, and SIGTERM drains."""
    group = start(LAUNCHERS[launcher])
    assert sorted(group.ranks) == [0, 1]
    result = client.result(client.submit(JOB, steps=4), timeout_s=60).raise_for_status()
    assert str(result.worker).startswith("group")
    job_id = group.begin(client, steps=60)

    group.child.stop(60)

    assert client.result(job_id, timeout_s=1).status == JobStatus.SUCCEEDED
    assert group.is_gone()


def test_a_killed_follower_ends_a_group_of_torchrun(fleet: Fleet, client: Client, start: Callable[..., Group]) -> None:
    """What torchrun gives back is its own code."""
    group = start(LAUNCHERS["torchrun"])
    job_id = group.begin(client)
    group.ranks[1].send_signal(signal.SIGKILL)

    assert group.child.wait(60) == 1
    assert group.is_gone()
    made_elsewhere(fleet, client, job_id)


def test_other_families_are_refused_with_a_sentence(fleet: Fleet, tmp_path: Path) -> None:
    """Before the ranks meet, by each of them."""
    source = build("z-image", tmp_path / "z-image")
    group = start_group(fleet, {**group_environment("tensor"), "IMAGEFLEET_MODEL_SOURCE": str(source)}, name="refused")
    try:
        assert group.wait(90) == ExitCode.MODEL_UNAVAILABLE
    finally:
        end_group(group, {})
    assert "ZImagePipeline cannot be spread over the ranks of a device group" in group.output()


def test_a_worker_without_ranks_says_how_to_start_a_group(fleet: Fleet) -> None:
    worker = fleet.start("alone", env=group_environment("context"))
    assert worker.wait(90) == ExitCode.SETTINGS_INVALID
    assert "start the worker with python -m imagefleet_worker.group" in worker.output()


def test_up_serves_a_model_by_a_group_and_leaves_no_rank(fleet: Fleet, tmp_path: Path) -> None:
    ports = ["--redis-port", str(free_port()), "--s3-port", str(free_port())]
    options = ["--model", str(fleet.model), "--data", str(tmp_path / "data"), *ports]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    small = {"IMAGEFLEET_MODEL_DEFAULT_STEPS": "2", "IMAGEFLEET_MODEL_DEFAULT_SIZE": "64x64"}
    env = {**clean_environment(), **group_environment("context"), **small, "CUDA_VISIBLE_DEVICES": ""}
    env |= {"IMAGEFLEET_GROUP_SIZE": "2", "IMAGEFLEET_ENGINE_MODE": "off"}
    up = ChildProcess("up", command, log=tmp_path / "up.log", env=env)
    try:
        wait_until(lambda: not up.is_running or "imagefleet submit" in up.output(), 150)
        assert up.is_running, up.log_tail()
        members = ranks(up)
        assert sorted(members) == [0, 1]
        with Client(f"redis://127.0.0.1:{ports[1]}/0") as client:
            client.result(client.submit(JOB), timeout_s=60).raise_for_status()
        up.send(signal.SIGINT)
        assert up.wait(60) == 0
        assert all(has_ended(process) for process in members.values())
    finally:
        up.stop(30)
