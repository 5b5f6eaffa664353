"""The images as they are deployed: another user, no capabilities, nothing to write to; a real Redis and S3 beside.

`make image` builds them first.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.image.containers import LIGHT, MODEL, WORKER, Container, output_of, podman, running
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.needs import missing
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet.contract.results import JobStatus

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for image in (WORKER, LIGHT):
        if podman("image", "exists", image, check=False).returncode:
            missing(f"no image {image}; docker/build-image makes it")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), env={"IMAGEFLEET_MODEL_SOURCE": MODEL}) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def worker(fleet: Fleet) -> Iterator[Container]:
    env = fleet.environment({"IMAGEFLEET_WORKER_DRAIN_S": "60"})
    with running(WORKER, env=env, mounts={fleet.model: MODEL}) as container:
        container.wait_until_ready()
        yield container


def test_a_job_is_made_by_a_user_without_rights(fleet: Fleet, worker: Container) -> None:
    with fleet.client() as client:
        result = client.result(client.submit("a lighthouse"), timeout_s=60).raise_for_status()
    assert result.artifacts[0].uri.partition(f"/{result.id}/0-")[1]
    assert worker.run("id", "-u").stdout.strip() == "10001"
    capabilities = worker.run("grep", "CapEff", "/proc/1/status").stdout.split()[1]
    assert int(capabilities, 16) == 0


@pytest.mark.parametrize("path", ["/opt/imagefleet/x", "/models/x", "/var/tmp/x", "/etc/x"])
def test_nothing_but_tmp_can_be_written(worker: Container, path: str) -> None:
    assert worker.run("touch", path).returncode != 0


def test_the_health_check_of_the_image_says_how_the_worker_does(worker: Container) -> None:
    assert podman("healthcheck", "run", worker.name, check=False).returncode == 0
    assert worker.run("imagefleet-worker", "health", "ready").stdout.startswith("ready")


def test_the_log_says_where_the_time_of_the_start_went(worker: Container, capsys: pytest.CaptureFixture[str]) -> None:
    opened = next(line for line in worker.log().splitlines() if "worker opened" in line)
    phases = {name: float(value) for name, value in re.findall(r"(\w+)_s=([\d.]+)", opened)}
    assert set(phases) == {"python", "import", "storage", "load", "warm_up"}
    total = float(re.findall(r" seconds=([\d.]+)", opened)[0])
    assert 0.7 * total < sum(phases.values()) <= total + 0.1
    with capsys.disabled():
        sys.stdout.write(f"\ncold start, in seconds: {phases}, in all {total}\n")


def test_celery_is_process_1_and_drains_at_stop(fleet: Fleet) -> None:
    env = fleet.environment({"IMAGEFLEET_MODEL_ALIAS": "drained", "IMAGEFLEET_WORKER_DRAIN_S": "60"})
    with running(WORKER, env=env, mounts={fleet.model: MODEL}) as container, fleet.client() as client:
        container.wait_until_ready()
        job_id = client.submit("a long one", model="drained", steps=150)
        wait_until(lambda: client.get(job_id).status is JobStatus.RUNNING, 30)
        assert container.stop(seconds=90) == 0
        assert "draining" in container.log()
        assert client.result(job_id, timeout_s=5).status is JobStatus.SUCCEEDED


def test_a_sender_without_torch_delivers(fleet: Fleet, worker: Container) -> None:
    with (
        contextlib.closing(Receiver()) as receiver,
        running(LIGHT, env=fleet.environment({"IMAGEFLEET_MODEL_SOURCE": ""})) as sender,
        fleet.client() as client,
    ):
        sender.wait_until_ready()
        job_id = client.submit("told", webhook={"url": receiver.url})
        received = receiver.wait_for(1, timeout_s=60)
        assert received[0].event.data.id == job_id
        assert sender.stop(seconds=30) == 0


def test_the_light_image_has_the_client_and_no_torch(fleet: Fleet) -> None:
    packages = output_of(
        LIGHT, "python3", "-c", "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    )
    assert "imagefleet" in packages
    assert not [name for name in ("torch", "diffusers") if name in packages]
    assert "boto3" in packages, "the sender and imagefleet url sign links with it"
    assert "submit" in output_of(LIGHT, "imagefleet", "--help")


@pytest.mark.parametrize("image", [WORKER, LIGHT])
def test_no_image_holds_tools_that_install_or_build(image: str) -> None:
    tools = "pip pip3 gcc cc make git curl"
    assert output_of(image, "sh", "-c", f"for t in {tools}; do command -v $t; done; true").strip() == ""
    assert "[]" in output_of(
        image, "python3", "-c", "import glob; print(glob.glob('/opt/imagefleet/lib/*/site-packages/pip*'))"
    )


@pytest.mark.parametrize("image", [WORKER, LIGHT])
def test_an_image_tells_nothing_about_where_it_was_built(image: str) -> None:
    config = podman("image", "inspect", image).stdout
    assert "pip.conf" not in output_of(image, "sh", "-c", "ls /etc/pip.conf /root/.cache 2>/dev/null || true")
    assert '"User": "10001:10001"' in config


def test_a_new_version_of_our_code_is_a_small_layer() -> None:
    layers = json.loads(podman("history", "--format", "json", WORKER).stdout)
    sizes = [layer["size"] for layer in layers if "COPY" in layer["CreatedBy"]]
    assert len(sizes) == 2
    assert min(sizes) < 4_000_000  # our files (1.2 MB) and what Python compiled of them (2.1 MB), in blocks


def test_packages_are_compiled_so_that_a_start_need_not(tmp_path: Path) -> None:
    found = output_of(WORKER, "sh", "-c", "find /opt/imagefleet/lib -name '*.pyc' | grep -c diffusers")
    assert int(found) > 100
