"""What scales the workers asks for every job that wants one, and takes no pod away before its jobs have ended."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.chart.rendering import VALUE_SETS, Object, of_kind, pod_specs, render

from imagefleet.contract.queues import queue_for


def scaled(name: str, changes: Object | None = None) -> dict[str, Object]:
    return {found: scaler["spec"] for found, scaler in of_kind(render(name, changes), "ScaledObject").items()}


def jobs_of(spec: Object) -> Object:
    """The metadata of the trigger that counts jobs."""
    return next(trigger["metadata"] for trigger in spec["triggers"] if trigger["name"] == "jobs")


def test_each_model_asks_for_its_own_queue_and_the_time_of_its_own_start() -> None:
    changes = {"modelDefaults": {"autoscaling": {"startSeconds": 600}}}
    for name, alias in {"r-imagefleet-sdxl": "sdxl", "r-imagefleet-flux-1": "flux.1"}.items():
        metadata = jobs_of(scaled("two-models", changes)[name])
        url = urlsplit(metadata["url"])
        assert url.path == f"/queues/{queue_for(alias)}"
        assert parse_qs(url.query) == {"due_within_s": ["600"]}
        assert metadata["valueLocation"] == "demand"
        assert metadata["activationTargetValue"] == "0"


def test_for_jobs_there_is_one_number_and_no_formula() -> None:
    spec = scaled("everything")["fleet-sdxl"]
    assert [trigger["type"] for trigger in spec["triggers"]] == ["metrics-api"]
    assert "scalingModifiers" not in spec["advanced"]
    assert jobs_of(spec)["targetValue"] == "8"


@pytest.mark.parametrize("name", VALUE_SETS)
def test_keda_asks_a_service_of_the_senders(name: str) -> None:
    """The senders run where no worker does. Without KEDA nobody needs the service."""
    objects = render(name)
    for scaler in of_kind(objects, "ScaledObject").values():
        url = urlsplit(jobs_of(scaler["spec"])["url"])
        service = next(each for each in of_kind(objects, "Service") if url.hostname == f"{each}.images.svc")
        spec = of_kind(objects, "Service")[service]["spec"]
        pods = of_kind(objects, "Deployment")[service]["spec"]
        assert spec["selector"].items() <= pods["template"]["metadata"]["labels"].items()
        assert pods["replicas"] >= 1
        [port] = spec["ports"]
        ports = {each["name"]: each["containerPort"] for each in pod_specs(objects)[service]["containers"][0]["ports"]}
        assert url.port == port["port"] == ports[port["targetPort"]]
    is_scaled = bool(of_kind(objects, "ScaledObject"))
    assert any(each.endswith("-sender") for each in of_kind(objects, "Service")) is is_scaled


def test_with_prometheus_the_backlog_is_in_seconds_of_the_device() -> None:
    spec = scaled("two-models")["r-imagefleet-flux-1"]
    modifiers = spec["advanced"]["scalingModifiers"]
    assert set(re.findall("[a-z][a-z0-9_]*", modifiers["formula"])) == {trigger["name"] for trigger in spec["triggers"]}
    assert modifiers["target"] == "120"
    assert modifiers["activationTarget"] == "0"
    queries = {
        trigger["name"]: trigger["metadata"]["query"] for trigger in spec["triggers"] if "query" in trigger["metadata"]
    }
    assert 'imagefleet_model="flux.1"' in queries["seconds"]
    assert queries["seconds"].endswith("or vector(15)")  # 120 seconds for a pod are 8 jobs for a pod


def test_it_scales_to_zero_and_back() -> None:
    spec = scaled("everything")["fleet-sdxl"]
    assert spec["minReplicaCount"] == 0
    assert jobs_of(spec)["activationTargetValue"] == "0"
    assert "replicas" not in of_kind(render("everything"), "Deployment")["fleet-sdxl"]["spec"]


def test_pods_go_one_by_one_and_late() -> None:
    behavior = scaled("everything")["fleet-sdxl"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }


def test_keda_needs_no_way_to_redis_and_no_password() -> None:
    """The trial Redis, which has no password, is open to its namespace only."""
    objects = render("everything")
    policy = of_kind(objects, "NetworkPolicy")["fleet-redis"]["spec"]
    assert [rule["from"] for rule in policy["ingress"]] == [[{"podSelector": {}}]]
    for scaler in of_kind(objects, "ScaledObject").values():
        assert not any("authenticationRef" in trigger for trigger in scaler["spec"]["triggers"])


def test_without_keda_the_clusters_autoscaler_follows_the_queue_of_the_model() -> None:
    objects = render("hpa")
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    assert list(scalers) == ["r-imagefleet-sdxl"]
    metric = scalers["r-imagefleet-sdxl"]["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "imagefleet_queue_demand", "selector": {"matchLabels": {"queue": "imagefleet.sdxl"}}}
    assert of_kind(objects, "Deployment")["r-imagefleet-fixed"]["spec"]["replicas"] == 1
