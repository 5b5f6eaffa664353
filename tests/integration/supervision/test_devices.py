"""`imagefleet-worker --devices`: a real worker process for each of two devices, watched by one process."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import clean_environment
from tests.support.fleet.supervisor_process import COMMAND, SupervisorProcess, running_supervisor
from tests.support.waiting import wait_until

from imagefleet import AsyncClient
from imagefleet_worker.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("devices")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def supervisor(fleet: Fleet) -> Iterator[SupervisorProcess]:
    """Two workers on the CPU that take jobs."""
    with running_supervisor(fleet, fleet.folder, env={"IMAGEFLEET_ENGINE_MAX_JOBS": "2"}) as supervisor:
        for device in ("cpu0", "cpu1"):
            supervisor.wait_for(device, "ready")
        yield supervisor


def _weights(pid: int) -> list[tuple[int, int]]:
    """Resident and proportional kB of each weight file that the process has mapped."""
    maps = psutil.Process(pid).memory_maps(grouped=True)
    return [(each.rss, each.pss) for each in maps if each.path.endswith(".safetensors")]


def test_the_watching_process_has_no_torch(supervisor: SupervisorProcess) -> None:
    paths = [each.path for each in psutil.Process(supervisor.child.pid).memory_maps(grouped=True)]
    assert not [path for path in paths if "libtorch" in path]


def _shares_its_weights(pid: int) -> bool:
    """Whether the process pays for half of its weights, as one of two."""
    weights = _weights(pid)
    return sum(pss for _, pss in weights) <= 0.5 * sum(rss for rss, _ in weights)


def test_workers_share_the_weights_in_memory(supervisor: SupervisorProcess) -> None:
    for device in ("cpu0", "cpu1"):
        entry = supervisor.entry(device)
        assert entry
        assert entry.pid
        assert _weights(entry.pid)
        wait_until(partial(_shares_its_weights, entry.pid), 20)  # a page is shared once both have read it


def test_each_worker_has_its_name_and_its_logs_say_it(supervisor: SupervisorProcess) -> None:
    for device in ("cpu0", "cpu1"):
        entry = supervisor.entry(device)
        assert entry
        assert any(f"{device}@" in word for word in psutil.Process(entry.pid).cmdline())
        assert f"device={device}" in supervisor.child.output()


def test_three_prompts_on_two_devices_are_three_images_in_order(fleet: Fleet, supervisor: SupervisorProcess) -> None:
    prompts = [f"bird {index}" for index in range(3)]
    before = set(fleet.s3.keys())
    with fleet.client() as client:
        results = list(client.map(prompts, seed=7, timeout_s=60))
    keys = [artifact.uri.rpartition(f"{fleet.s3.bucket}/")[2] for result in results for artifact in result.artifacts]
    files = [fleet.s3.client.get_object(Bucket=fleet.s3.bucket, Key=key)["Body"].read() for key in keys]
    assert [prompt.encode() in file for prompt, file in zip(prompts, files, strict=True)] == [True] * 3
    assert len(set(fleet.s3.keys()) - before) == 6  # an image and its manifest each: nothing padded, nothing twice


def test_mixed_steps_are_streamed_in_order_from_both_devices(fleet: Fleet, supervisor: SupervisorProcess) -> None:
    steps = [2, 120, 2, 60, 2, 60, 120]
    jobs = [{"prompt": "a fish", "steps": count, "metadata": {"steps": count}} for count in steps]
    with fleet.client() as client:
        results = client.map(jobs, timeout_s=90, steps=99)
        first = next(results)
        first_at = datetime.now(UTC)
        everything = [first, *results]
    assert [result.metadata["steps"] for result in everything if result.artifacts] == steps
    assert first_at < max(result.finished_at for result in everything)
    assert {(result.worker or "").partition("@")[0] for result in everything} == {"cpu0", "cpu1"}


async def test_map_of_the_asyncio_client_is_the_same(fleet: Fleet, supervisor: SupervisorProcess) -> None:
    jobs = [{"prompt": "a fox", "steps": count, "metadata": {"index": index}} for index, count in enumerate((40, 2, 2))]
    async with AsyncClient(fleet.redis.url) as client:
        results = [result async for result in await client.map(jobs, timeout_s=60, steps=4)]
    assert [result.metadata.get("index") for result in results if result.artifacts] == [0, 1, 2]


def test_killed_worker_comes_back_and_its_jobs_are_made(fleet: Fleet, supervisor: SupervisorProcess) -> None:
    before = supervisor.entry("cpu0")
    assert before
    assert before.pid
    with fleet.client() as client:
        ids = client.submit_many([{"prompt": f"boat {index}", "steps": 60} for index in range(6)])
        wait_until(lambda: sum(client.status(job_id) == "running" for job_id in ids) >= 2, 30)

        os.kill(before.pid, signal.SIGKILL)

        assert all(result.artifacts for result in client.as_completed(ids, timeout_s=60))
    after = supervisor.wait_for("cpu0", "ready", besides=before.pid)
    assert after.restarts == before.restarts + 1
    assert "exit_code=-9" in supervisor.child.output()


def test_status_is_shown_on_request_and_to_probes(supervisor: SupervisorProcess) -> None:
    supervisor.wait_for("cpu0", "ready")
    supervisor.child.send(signal.SIGUSR1)

    wait_until(lambda: "restarts" in supervisor.child.output(), 10)

    env = {**clean_environment(), "IMAGEFLEET_HEALTH_FOLDER": str(supervisor.folder)}
    probe = subprocess.run([*COMMAND, "health", "ready"], env=env, capture_output=True, text=True, check=False)
    assert (probe.returncode, "cpu1" in probe.stdout) == (0, True)


def test_signal_drains_all(fleet: Fleet, supervisor: SupervisorProcess) -> None:
    """The last test with these workers: it ends them."""
    supervisor.wait_for("cpu0", "ready")
    with fleet.client() as client:
        ids = client.submit_many([{"prompt": f"owl {index}", "steps": 40} for index in range(2)])
        wait_until(lambda: any(client.get(job_id).progress for job_id in ids), 30)
        taken = [job_id for job_id in ids if client.get(job_id).progress]  # claimed is not begun: that goes back

        supervisor.child.send(signal.SIGTERM)

        assert supervisor.child.wait(60) == 0
        assert [client.status(job_id) for job_id in taken] == ["succeeded"] * len(taken)
        assert fleet.raw().zcard("imagefleet:leases") == 0
        for job_id in ids:
            client.cancel(job_id)


def wait_for_pid(supervisor: SupervisorProcess, device: str) -> int:
    pid = wait_until(lambda: (entry := supervisor.entry(device)) and entry.pid, 30)
    assert pid
    return pid


def test_killed_watcher_leaves_no_worker(fleet: Fleet, tmp_path: Path) -> None:
    with running_supervisor(fleet, tmp_path) as supervisor:
        workers = [psutil.Process(wait_for_pid(supervisor, device)) for device in ("cpu0", "cpu1")]

        supervisor.child.kill()

        wait_until(lambda: not any(_runs(worker) for worker in workers), 10)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_invalid_settings_end_it_at_once(fleet: Fleet, tmp_path: Path) -> None:
    with running_supervisor(fleet, tmp_path, env={"IMAGEFLEET_ENGINE_MODE": "fast"}) as supervisor:
        wait_until(lambda: not supervisor.child.is_running, 30)
    assert supervisor.child.exit_code == 78
    assert "IMAGEFLEET_ENGINE" in supervisor.child.output()


def _can_unshare() -> bool:
    program = shutil.which("unshare")
    if program is None:
        return False
    command = [program, "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_unshare(), reason="this system allows no process namespaces")
def test_as_process_1_it_takes_the_ends_of_orphans(fleet: Fleet, tmp_path: Path) -> None:
    script = """
import os, subprocess, sys, threading
sys.argv = ["imagefleet-worker", "--devices", "cpu:1"]
orphan = "import subprocess; print(subprocess.Popen(['sleep', '0.2'], stdout=subprocess.DEVNULL).pid)"
pid = subprocess.check_output([sys.executable, "-c", orphan], text=True).strip()

def look():
    while os.path.exists(f"/proc/{pid}"):
        threading.Event().wait(0.1)
    print("reaped as process", os.getpid(), flush=True)
    os.kill(os.getpid(), 15)

threading.Thread(target=look, daemon=True).start()
from imagefleet_worker.cli import main
main()
"""
    env = {**clean_environment(), **fleet.environment()}
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert "reaped as process 1" in ended.stdout
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="needs a machine without a CUDA device")
def test_a_device_that_is_not_there_is_given_up_and_not_replaced_by_the_cpu(fleet: Fleet, tmp_path: Path) -> None:
    """The worker ends with 71 and the words of torch or of the driver; the whole command then ends with it."""
    with running_supervisor(fleet, tmp_path, devices="7", env={"IMAGEFLEET_DEVICES_MAX_FAULTS": "1"}) as supervisor:
        wait_until(lambda: not supervisor.child.is_running, 60)

        assert supervisor.child.exit_code == ExitCode.MODEL_UNAVAILABLE
        assert "device 7 was asked for and is not there" in supervisor.child.output()
        assert "gpu7@" not in supervisor.child.output() or " ready." not in supervisor.child.output()
