"""Charts rendered by the Helm SDK itself, as the objects that a cluster would be given."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).parents[2] / "helm" / "imagefleet"
#: Value files of the chart, by name.
VALUE_SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]


@cache
def chart() -> Chart:
    """The chart."""
    return Chart.load(CHART)


def values_of(name: str) -> Object:
    """The value set called *name*."""
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())


def merged(values: Object, changes: Object) -> Object:
    """*values* with *changes*, as `helm --set` would make them."""
    both = dict(values)
    for key, value in changes.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def render(name: str, changes: Object | None = None, *, namespace: str = "images", release: str = "r") -> list[Object]:
    """All objects of the value set called *name*, with *changes*, as *release* in *namespace*."""
    files = chart().render(merged(values_of(name), changes or {}), name=release, namespace=namespace)
    manifests = (text for path, text in files.items() if path.endswith(".yaml"))
    return [found for text in manifests for found in yaml.safe_load_all(text) if found]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of one kind by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """The pod specs of all workloads by the workload's name."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in objects
        if found["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def environment(container: Object) -> dict[str, str]:
    """The environment of *container*; what comes from a secret is named `secret:key`."""
    return {
        entry["name"]: entry["value"] if "value" in entry else "secret:" + entry["valueFrom"]["secretKeyRef"]["key"]
        for entry in container.get("env", ())
    }
