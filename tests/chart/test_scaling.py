"""What scales the workers sees every job that waits, and takes no pod away before its jobs have ended."""

import re

import pytest
from tests.chart.rendering import Object, of_kind, render

from imagefleet.queues import Keys, queue_for


def scaled(name: str, changes: Object | None = None) -> dict[str, Object]:
    return {found: scaler["spec"] for found, scaler in of_kind(render(name, changes), "ScaledObject").items()}


def test_every_list_of_the_queue_is_counted() -> None:
    """The names hold control characters, and come through YAML as they are in Redis."""
    spec = scaled("two-models")["r-imagefleet-sdxl"]
    counted = [trigger["metadata"]["listName"] for trigger in spec["triggers"] if trigger["type"] == "redis"]
    keys, queue = Keys("team:"), queue_for("sdxl")
    assert counted == [*keys.lists(queue), *keys.lanes(queue)]


@pytest.mark.parametrize("running", ["leases", "nothing"])
def test_the_sum_is_over_all_triggers(running: str) -> None:
    """Else the autoscaler follows the longest list, and a backlog in five lists is seen as a fifth."""
    spec = scaled("everything", {"autoscaling": {"running": running}})["fleet-sdxl"]
    modifiers = spec["advanced"]["scalingModifiers"]
    assert sorted(modifiers["formula"].split(" + ")) == sorted(trigger["name"] for trigger in spec["triggers"])
    assert modifiers["target"] == "8"
    assert ("running" in modifiers["formula"]) is (running == "leases")


def test_running_jobs_are_those_that_hold_a_lease() -> None:
    spec = scaled("everything")["fleet-sdxl"]
    running = next(trigger for trigger in spec["triggers"] if trigger["name"] == "running")
    assert running["metadata"]["listName"] == Keys().leases


def test_with_prometheus_the_backlog_is_in_seconds_of_the_device() -> None:
    spec = scaled("two-models")["r-imagefleet-flux-1"]
    modifiers = spec["advanced"]["scalingModifiers"]
    assert set(re.findall("[a-z][a-z0-9_]*", modifiers["formula"])) == {trigger["name"] for trigger in spec["triggers"]}
    assert modifiers["target"] == "120"
    queries = {
        trigger["name"]: trigger["metadata"]["query"] for trigger in spec["triggers"] if "query" in trigger["metadata"]
    }
    assert 'imagefleet_model="flux.1"' in queries["running"]
    assert queries["seconds"].endswith("or vector(15)")  # 120 seconds for a pod are 8 jobs for a pod


def test_it_scales_to_zero_and_back() -> None:
    spec = scaled("everything")["fleet-sdxl"]
    assert spec["minReplicaCount"] == 0
    assert spec["advanced"]["scalingModifiers"]["activationTarget"] == "0"
    assert "replicas" not in of_kind(render("everything"), "Deployment")["fleet-sdxl"]["spec"]


def test_pods_go_one_by_one_and_late() -> None:
    behavior = scaled("everything")["fleet-sdxl"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }


def test_the_trial_redis_is_where_keda_looks() -> None:
    addresses = {trigger["metadata"]["address"] for trigger in scaled("everything")["fleet-sdxl"]["triggers"]}
    assert addresses == {"fleet-redis.images.svc:6379"}
    assert "fleet-redis" in of_kind(render("everything"), "Service")


def test_the_password_of_redis_comes_from_a_secret() -> None:
    objects = render("two-models")
    parameters = of_kind(objects, "TriggerAuthentication")["r-imagefleet-redis"]["spec"]["secretTargetRef"]
    assert [parameter["parameter"] for parameter in parameters] == ["password", "username"]
    redis = [trigger for trigger in scaled("two-models")["r-imagefleet-sdxl"]["triggers"] if trigger["type"] == "redis"]
    assert all(trigger["authenticationRef"] == {"name": "r-imagefleet-redis"} for trigger in redis)
    assert all(trigger["metadata"]["enableTLS"] == "true" for trigger in redis)


def test_without_keda_the_clusters_autoscaler_follows_the_queue_of_the_model() -> None:
    objects = render("hpa")
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    assert list(scalers) == ["r-imagefleet-sdxl"]
    metric = scalers["r-imagefleet-sdxl"]["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "imagefleet_queue_depth", "selector": {"matchLabels": {"queue": "imagefleet.sdxl"}}}
    assert of_kind(objects, "Deployment")["r-imagefleet-fixed"]["spec"]["replicas"] == 1
