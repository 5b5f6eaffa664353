"""What the chart tells a worker is what a worker understands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.chart.rendering import VALUE_SETS, Object, environment, of_kind, pod_specs, render

from imagefleet_worker.settings import Settings

#: What the keys of secrets hold.
SECRETS = {"secret:url": "redis://127.0.0.1", "secret:secrets": "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="}


#: A variable with a credential of S3.
KEY = "AWS_ACCESS_KEY_ID"


def workers(name: str, changes: Object | None = None) -> dict[str, Object]:
    specs = pod_specs(render(name, changes))
    return {workload: spec for workload, spec in specs.items() if spec["containers"][0]["name"] in ("worker", "sender")}


def variables() -> set[str]:
    return {
        f"{group.model_config.get('env_prefix', '')}{field.upper()}"
        for group in Settings.groups().values()
        for field in group.model_fields
    }


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_setting_that_a_pod_gets_exists(name: str) -> None:
    """A misspelt variable would be ignored in silence."""
    for spec in workers(name).values():
        ours = {variable for variable in environment(spec["containers"][0]) if variable.startswith("IMAGEFLEET_")}
        assert ours
        assert ours <= variables()


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_worker_accepts_the_settings_of_every_pod(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the chart writes passes the worker's own checks, but for folders that only the pod has."""
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    for spec in workers(name).values():
        with monkeypatch.context() as patch:
            for variable, value in environment(spec["containers"][0]).items():
                patch.setenv(variable, SECRETS.get(value, value))
            settings = Settings.load()
        assert spec["terminationGracePeriodSeconds"] == settings.worker.drain_s + 15
        assert settings.health.folder.startswith("/tmp/")
        assert {mount["mountPath"]: mount.get("readOnly", False) for mount in spec["containers"][0]["volumeMounts"]}[
            "/tmp"
        ] is False


def test_the_pod_outlives_the_drain_whatever_it_is() -> None:
    """Kubernetes must not kill a worker that still finishes jobs."""
    spec = workers("minimal", {"modelDefaults": {"drainSeconds": 1800}})["r-imagefleet-sdxl"]
    assert environment(spec["containers"][0])["IMAGEFLEET_WORKER_DRAIN_S"] == "1800"
    assert spec["terminationGracePeriodSeconds"] == 1815


def test_senders_consume_the_webhooks_and_ask_for_no_device() -> None:
    spec = workers("minimal")["r-imagefleet-sender"]
    container = spec["containers"][0]
    assert container["args"][:2] == ["-Q", "imagefleet.webhooks"]
    assert not any("gpu" in resource for part in container["resources"].values() for resource in part)
    assert "IMAGEFLEET_MODEL_ALIAS" not in environment(container)


def test_senders_sign_links_with_a_secret_of_their_own_or_the_workers() -> None:
    """Or with none, and without the bucket, if the chart is told that they sign none."""

    def keys(**sender: Any) -> tuple[str | None, str | None]:
        values = {"storage": {"existingSecret": "s3", "publicUrl": "https://images.example.com"}, "sender": sender}
        container = workers("minimal", values)["r-imagefleet-sender"]["containers"][0]
        secret = next((each["valueFrom"]["secretKeyRef"] for each in container["env"] if each["name"] == KEY), {})
        return environment(container).get("IMAGEFLEET_STORAGE_BUCKET"), secret.get("name")

    assert keys() == ("images", "s3")
    assert keys(storageSecret="s3-reader") == ("images", "s3-reader")
    assert keys(signLinks=False) == (None, None)


def test_links_are_signed_for_the_public_url() -> None:
    specs = workers("minimal", {"storage": {"publicUrl": "https://images.example.com"}})
    for spec in specs.values():
        assert environment(spec["containers"][0])["IMAGEFLEET_STORAGE_PUBLIC_URL"] == "https://images.example.com"
    assert "IMAGEFLEET_STORAGE_PUBLIC_URL" not in environment(workers("minimal")["r-imagefleet-sdxl"]["containers"][0])


def test_a_model_overrides_the_defaults_and_only_its_own() -> None:
    first, second = (workers("two-models")[f"r-imagefleet-{alias}"] for alias in ("sdxl", "flux-1"))
    assert environment(first["containers"][0])["IMAGEFLEET_ENGINE_MAX_JOBS"] == "4"
    assert "IMAGEFLEET_ENGINE_MAX_JOBS" not in environment(second["containers"][0])
    assert first["nodeSelector"] == {"gpu.example/kind": "l4"}
    assert second["nodeSelector"] == {"gpu.example/kind": "h100"}
    for spec in (first, second):
        assert {taint["key"] for taint in spec["tolerations"]} == {"nvidia.com/gpu", "spot"}
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_settings_go_from_the_general_to_the_particular() -> None:
    changes = {"settings": {"IMAGEFLEET_WORKER_LOG_LEVEL": "DEBUG"}}
    particular = {"sender": {"settings": {"IMAGEFLEET_WORKER_LOG_LEVEL": "ERROR"}}}
    specs = workers("minimal", changes | particular)
    levels = {name: environment(spec["containers"][0])["IMAGEFLEET_WORKER_LOG_LEVEL"] for name, spec in specs.items()}
    assert levels == {"r-imagefleet-sdxl": "DEBUG", "r-imagefleet-sender": "ERROR"}


def test_false_zero_and_nothing_override_defaults_too() -> None:
    """Merging by truth would keep the default."""
    own = {"spread": False, "replicas": 0, "settings": {"IMAGEFLEET_MODEL_DTYPE": ""}, "gpus": {"count": 0}}
    source = {"repository": "example/sdxl", "revision": "0123456789abcdef0123456789abcdef01234567"}
    defaults = {"settings": {"IMAGEFLEET_MODEL_DTYPE": "float32"}}
    changes = {"models": [{"alias": "sdxl", "source": source, **own}], "modelDefaults": defaults}
    objects = render("minimal", changes | {"settings": {"IMAGEFLEET_MODEL_DTYPE": "bfloat16"}})
    spec = pod_specs(objects)["r-imagefleet-sdxl"]
    assert of_kind(objects, "Deployment")["r-imagefleet-sdxl"]["spec"]["replicas"] == 0
    assert "topologySpreadConstraints" not in spec
    assert environment(spec["containers"][0])["IMAGEFLEET_MODEL_DTYPE"] == ""
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("own", "device"),
    [
        ({}, "cuda"),
        ({"gpus": {"count": 0}}, None),
        ({"gpus": {"resource": "gpu.intel.com/i915"}}, None),
        ({"settings": {"IMAGEFLEET_MODEL_DEVICE": "auto"}}, "auto"),
    ],
)
def test_a_pod_that_asked_for_a_gpu_does_not_serve_on_the_cpu(own: dict[str, Any], device: str | None) -> None:
    """A worker that is to use CUDA ends where there is none."""
    spec = workers("minimal", {"modelDefaults": own})["r-imagefleet-sdxl"]
    assert environment(spec["containers"][0]).get("IMAGEFLEET_MODEL_DEVICE") == device


def test_a_cpu_model_needs_no_gpu() -> None:
    spec = workers("cpu")["r-imagefleet-tiny"]
    assert spec["tolerations"] == []
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "4Gi"}
    assert environment(spec["containers"][0])["IMAGEFLEET_MODEL_SOURCE"] == "/models/tiny"
    assert "ports" not in spec["containers"][0]


def test_the_init_container_fetches_the_pinned_commit(tmp_path: Path) -> None:
    """Its program is run, with a stand-in for the hub's library that prints what it was asked for."""
    (tmp_path / "huggingface_hub.py").write_text("def snapshot_download(*what, **how): return (what, how)\n")
    fetch = workers("everything")["fleet-sdxl"]["initContainers"][0]
    program = fetch["command"]
    done = subprocess.run(
        [sys.executable, *program[1:]],
        env={**environment(fetch), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    revision = "0123456789abcdef0123456789abcdef01234567"
    patterns = ["*.json", "*.safetensors"]
    assert done.stdout == f"{(('example/sdxl',), {'revision': revision, 'allow_patterns': patterns})}\n"


def test_worker_and_init_container_agree_on_the_folder_of_the_model() -> None:
    spec = workers("two-models")["r-imagefleet-sdxl"]
    fetch, worker = spec["initContainers"][0], spec["containers"][0]
    assert environment(fetch)["HF_HOME"] == environment(worker)["HF_HOME"] == "/models/huggingface"
    assert environment(worker)["IMAGEFLEET_MODEL_OFFLINE"] == "true"
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in spec["volumes"]


def test_the_key_that_signs_images_is_mounted_into_workers_and_nothing_else() -> None:
    """Not into its init container, nor into senders, and never as a variable."""
    pods = pod_specs(render("everything"))
    with_key = {name for name, spec in pods.items() if "c2pa" in {volume["name"] for volume in spec.get("volumes", [])}}
    assert with_key == {"fleet-sdxl"}
    spec = pods["fleet-sdxl"]
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "c2pa")
    assert volume["secret"] == {"secretName": "c2pa", "defaultMode": 0o440}
    (init,), (worker,) = spec["initContainers"], spec["containers"]
    assert "c2pa" not in {mount["name"] for mount in init["volumeMounts"]}
    (folder,) = (mount["mountPath"] for mount in worker["volumeMounts"] if mount["name"] == "c2pa")
    assert environment(worker)["IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE"] == f"{folder}/tls.key"
    assert environment(worker)["IMAGEFLEET_PROVENANCE_C2PA_CERTIFICATE_FILE"] == f"{folder}/tls.crt"


def test_the_trial_redis_keeps_every_job() -> None:
    """It writes each command to disk, evicts nothing, and refuses before the kernel kills it."""
    args = of_kind(render("everything"), "StatefulSet")["fleet-redis"]["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    options = dict(zip(args[::2], args[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--maxmemory"] == "384mb"
