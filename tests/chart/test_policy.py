"""What no pod of the chart may do, whatever the values say."""

import re

import pytest
from tests.chart.rendering import VALUE_SETS, Object, pod_specs, render

EACH_SET = pytest.mark.parametrize("name", VALUE_SETS)


def containers(name: str) -> list[Object]:
    return [
        container
        for spec in pod_specs(render(name)).values()
        for container in (*spec.get("initContainers", ()), *spec["containers"])
    ]


@EACH_SET
def test_no_container_is_root_or_may_become_it(name: str) -> None:
    for spec in pod_specs(render(name)).values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["runAsGroup"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@EACH_SET
def test_no_pod_gets_a_token_for_the_kubernetes_api(name: str) -> None:
    assert all(spec["automountServiceAccountToken"] is False for spec in pod_specs(render(name)).values())


@EACH_SET
def test_every_container_requests_cpu_and_memory_and_has_a_limit_of_memory(name: str) -> None:
    for container in containers(name):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@EACH_SET
def test_every_quantity_is_a_string(name: str) -> None:
    """Server-side apply refuses `nvidia.com/gpu: 1`."""
    for container in containers(name):
        for part in container["resources"].values():
            assert all(isinstance(quantity, str) for quantity in part.values())


@EACH_SET
def test_every_image_names_a_version(name: str) -> None:
    for container in containers(name):
        assert re.search(r"(:[^:/]+|@sha256:[0-9a-f]{64})$", container["image"])
        assert not container["image"].endswith(":latest")


@EACH_SET
def test_no_password_is_written_into_a_manifest(name: str) -> None:
    """Secrets are named, never held."""
    objects = render(name)
    assert not any(found["kind"] == "Secret" for found in objects)
    for container in containers(name):
        for entry in container.get("env", ()):
            if re.search("SECRET|TOKEN|PASSWORD", entry["name"]):
                assert "valueFrom" in entry


@EACH_SET
def test_every_process_has_probes_that_ask_no_broker(name: str) -> None:
    """A probe that needs Redis would end a fleet because Redis restarts."""
    for spec in pod_specs(render(name)).values():
        container = spec["containers"][0]
        if container["name"] not in ("worker", "sender"):  # Redis, Flower and what fetches have their own, or none
            continue
        asked = {
            kind: container[f"{kind}Probe"]["exec"]["command"][-1] for kind in ("startup", "readiness", "liveness")
        }
        assert asked == {"startup": "startup", "readiness": "ready", "liveness": "live"}


def test_the_network_policy_leaves_senders_no_way_into_the_cluster() -> None:
    """A job may name any URL; the worker's own guard is not the only one."""
    policy = next(
        found
        for found in render("everything")
        if found["kind"] == "NetworkPolicy" and found["metadata"]["name"] == "fleet-sender"
    )
    web = next(rule for rule in policy["spec"]["egress"] if {"port": 80, "protocol": "TCP"} in rule["ports"])
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(web["to"][0]["ipBlock"]["except"])
