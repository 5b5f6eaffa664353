"""Device groups, models that a Job fetches, and Flower."""

import subprocess
import sys

from tests.chart.rendering import Object, environment, of_kind, pod_specs, render

from imagefleet_worker.settings import GroupKind


def worker(alias: str) -> Object:
    return pod_specs(render("groups"))[f"r-imagefleet-{alias}"]


def test_a_group_is_one_pod_with_all_its_devices() -> None:
    container = worker("flux")["containers"][0]
    assert container["command"] == ["python3", "-m", "imagefleet_worker.group"]
    assert container["args"] == ["--size", "4", "-n", "flux@%h", "-E"]
    assert environment(container)["IMAGEFLEET_GROUP_KIND"] == GroupKind.CONTEXT
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert container["resources"]["requests"]["nvidia.com/gpu"] == "4"


def test_the_processes_of_a_group_share_memory() -> None:
    spec = worker("flux")
    volume = next(each for each in spec["volumes"] if each["name"] == "shared-memory")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in spec["containers"][0]["volumeMounts"]


def test_a_worker_of_one_device_is_no_group() -> None:
    container = worker("sdxl")["containers"][0]
    assert container["command"][0] == "celery"
    assert "IMAGEFLEET_GROUP_KIND" not in environment(container)
    assert not any(mount["mountPath"] == "/dev/shm" for mount in container["volumeMounts"])


def test_the_command_of_a_group_is_one_that_exists() -> None:
    command = [sys.executable, "-m", "imagefleet_worker.group", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--size" in done.stdout


def test_a_job_fetches_and_the_pods_wait_for_the_file_that_it_leaves() -> None:
    jobs = of_kind(render("groups"), "Job")
    assert len(jobs) == 2
    for job in jobs.values():
        fetch = job["spec"]["template"]["spec"]["containers"][0]
        alias = job["metadata"]["labels"]["imagefleet/model"]
        (wait,) = worker(alias)["initContainers"]
        assert "snapshot_download" in fetch["command"][2]
        assert environment(fetch)["FETCHED"] == environment(wait)["FETCHED"]
        assert job["metadata"]["name"].endswith(environment(fetch)["FETCHED"][-8:])


def test_a_new_commit_is_a_new_job() -> None:
    """A Job cannot be changed, so an upgrade would fail."""
    source = {"repository": "example/flux", "revision": "f" * 40}
    before = of_kind(render("groups"), "Job")
    after = of_kind(render("groups", {"models": [{"alias": "flux", "source": source}]}), "Job")
    assert not before.keys() & after.keys()


def test_flower_is_of_the_light_image_and_asks_for_a_password() -> None:
    container = pod_specs(render("groups"))["r-imagefleet-flower"]["containers"][0]
    assert container["image"] == "registry.example/imagefleet-light:0.1.0"
    assert environment(container)["FLOWER_BASIC_AUTH"] == "secret:basicAuth"
    assert not [name for name in environment(container) if name.startswith("AWS_")]


def test_workers_send_events_where_flower_listens_and_nowhere_else() -> None:
    assert worker("sdxl")["containers"][0]["args"] == ["-n", "sdxl@%h", "-E"]
    alone = pod_specs(render("minimal"))["r-imagefleet-sdxl"]
    assert alone["containers"][0]["args"] == ["-n", "sdxl@%h"]


def test_senders_are_of_the_light_image_where_there_is_one() -> None:
    images = [
        pod_specs(render(name))[workload]["containers"][0]["image"]
        for name, workload in (("groups", "r-imagefleet-sender"), ("everything", "fleet-sender"))
    ]
    assert images == ["registry.example/imagefleet-light:0.1.0", "registry.example/imagefleet-worker:0.1.0"]


def test_nobody_reaches_flower_but_who_is_named() -> None:
    policies = of_kind(render("groups"), "NetworkPolicy")
    (rule,) = policies["r-imagefleet-flower"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "proxy"}}}]
    assert of_kind(render("everything"), "NetworkPolicy")["fleet-flower"]["spec"]["ingress"] == []
