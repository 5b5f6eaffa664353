"""Values are documented, and wrong ones are refused with a sentence."""

import json
import re
from typing import Any

import pytest
import yaml
from helm_python.errors import HelmError
from tests.chart.rendering import CHART, Object, chart, merged, render, values_of
from tests.scripts import make_chart_readme

PINNED = {"repository": "example/sdxl", "revision": "0123456789abcdef0123456789abcdef01234567"}


def model(**changes: Any) -> Object:
    return {"models": [{"alias": "sdxl", "source": PINNED} | changes]}


REFUSED = {
    "no model": ({"models": []}, "models is empty: list at least one"),
    "misspelt setting": (
        {"settings": {"IMAGEFLEET_STORAGE_TIMEOT_S": "3"}},
        "IMAGEFLEET_STORAGE_TIMEOT_S is no setting: did you mean IMAGEFLEET_STORAGE_TIMEOUT_S?",
    ),
    "misspelt setting of a model": (
        model(settings={"IMAGEFLEET_SPEED_COMPLIE": "true"}),
        "IMAGEFLEET_SPEED_COMPLIE is no setting: did you mean IMAGEFLEET_SPEED_COMPILE?",
    ),
    "no such mode": ({"settings": {"IMAGEFLEET_ENGINE_MODE": "fast"}}, "IMAGEFLEET_ENGINE_MODE"),
    "no such level": ({"sender": {"settings": {"IMAGEFLEET_WORKER_LOG_LEVEL": "LOUD"}}}, "IMAGEFLEET_WORKER_LOG_LEVEL"),
    "no bucket": ({"storage": {"bucket": ""}}, "storage.bucket is empty"),
    "no image": ({"image": {"repository": ""}}, "image.repository is empty"),
    "moving tag": ({"image": {"tag": "latest"}}, "image.tag is latest"),
    "no redis": ({"redis": {"trial": {"enabled": False}}}, "redis.existingSecret is empty"),
    "two redises": ({"redis": {"existingSecret": "redis"}}, "exclude each other"),
    "alias of webhooks": (model(alias="webhooks"), "taken by the queue of webhooks"),
    "same objects": (
        {"models": [{"alias": "a.b", "source": PINNED}, {"alias": "a-b", "source": PINNED}]},
        "rename one",
    ),
    "two GPUs": (
        model(gpus={"count": 2}),
        "a worker owns one device: set 1 and raise replicas, or make the 2 a device group with group.kind",
    ),
    "group of one": (model(group={"kind": "context"}), "needs gpus.count of 2 or more"),
    "group that merges": (
        model(gpus={"count": 2}, group={"kind": "context"}, settings={"IMAGEFLEET_ENGINE_MODE": "merge"}),
        "makes one job at a time: leave it out",
    ),
    "groups that merge": (
        model(gpus={"count": 2}, group={"kind": "tensor"}) | {"settings": {"IMAGEFLEET_ENGINE_MODE": "reproducible"}},
        "IMAGEFLEET_ENGINE_MODE is reproducible",
    ),
    "group with the memory of one": (
        model(gpus={"count": 4}, group={"kind": "context"}),
        "set requests and limits that hold it 4 times",
    ),
    "unknown group": (model(gpus={"count": 2}, group={"kind": "pipeline"}), "group/kind"),
    "prefetch to nowhere": (model(source=PINNED | {"prefetch": True}), "the volume that the Job and the pods share"),
    "alias of Flower": (model(alias="flower"), "the name of another part of the chart"),
    "unpinned": (model(source={"repository": "example/sdxl"}), "source.revision (the commit, 40 hex digits)"),
    "branch": (model(source=PINNED | {"revision": "main"}), "source/revision"),
    "no claim": (model(source={"kind": "claim"}), "needs source.claim"),
    "relative folder": (model(source={"kind": "image", "path": "sdxl"}), "absolute folder"),
    "zero without keda": ({"autoscaling": {"by": "hpa"}}, "only KEDA can do"),
    "min over max": ({"autoscaling": {"by": "keda"}} | model(autoscaling={"min": 9}), "more than autoscaling.max"),
    "keda without senders": (
        {"autoscaling": {"by": "keda"}, "sender": {"enabled": False}},
        "set sender.enabled=true and metrics.enabled=true",
    ),
    "keda without metrics": (
        {"autoscaling": {"by": "keda"}, "metrics": {"enabled": False}},
        "set sender.enabled=true and metrics.enabled=true",
    ),
    "prometheus nowhere": (
        {"autoscaling": {"by": "keda", "unit": "seconds"}},
        "autoscaling.prometheusUrl is empty",
    ),
    "seconds without labels": (
        {"autoscaling": {"by": "keda", "unit": "seconds", "prometheusUrl": "http://prometheus:9090"}},
        "set metrics.podMonitor.enabled=true",
    ),
    "alerts on nothing": ({"metrics": {"enabled": False, "rules": {"enabled": True}}}, "need it"),
    "owned setting": (model(settings={"IMAGEFLEET_WORKER_DRAIN_S": "9"}), "set drainSeconds instead"),
    "number as setting": ({"settings": {"IMAGEFLEET_ENGINE_MAX_JOBS": 4}}, "got number, want string"),
    "not a setting": ({"settings": {"MAX_JOBS": "4"}}, "settings: MAX_JOBS is no setting"),
    "misspelt": ({"sendr": {"enabled": False}}, "additional properties 'sendr' not allowed"),
    "misspelt in a model": (model(drainSecond=9), "additional properties 'drainSecond' not allowed"),
    "number as quantity": (model(resources={"limits": {"memory": 16}}), "got number, want string"),
    "root": ({"security": {"uid": 0}}, "security/uid"),
    "bad alias": (model(alias="SDXL"), "alias"),
}


@pytest.mark.parametrize(("changes", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_values_are_refused_with_a_sentence(changes: Object, sentence: str) -> None:
    with pytest.raises(HelmError) as caught:
        render("minimal", changes)
    assert sentence in str(caught.value)


def test_the_minimal_values_are_minimal() -> None:
    """Leaving any one of them out is refused."""
    for key in (values := values_of("minimal")):
        with pytest.raises(HelmError):
            chart().render({name: value for name, value in values.items() if name != key}, name="r")


def test_every_value_has_a_comment() -> None:
    paths = [value.path for value in make_chart_readme.documented((CHART / "values.yaml").read_text().splitlines())]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    bare = [
        leaf
        for leaf in make_chart_readme.leaves(values)
        if not any(f"{leaf}.".startswith(f"{path}.") for path in paths)
    ]
    assert bare == []


def test_the_readme_is_that_of_the_values() -> None:
    assert (CHART / "README.md").read_text() == make_chart_readme.readme(), (
        "run: python -m tests.scripts.make_chart_readme"
    )


def test_the_schema_knows_every_value_and_no_object_is_open() -> None:
    """An open object accepts typing errors; the few that Kubernetes defines are checked as manifests."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) == set(values) | {"global"}
    open_ones = list(opened(schema, ""))
    assert open_ones == [
        "/$defs/affinity/nodeAffinity",
        "/$defs/affinity/podAffinity",
        "/$defs/affinity/podAntiAffinity",
        "/global",
    ]


def opened(schema: Any, path: str) -> list[str]:
    """The paths of all objects that accept any property."""
    if not isinstance(schema, dict):
        return []
    found = [path] if schema.get("type") == "object" and schema.get("additionalProperties", True) is True else []
    for name, part in {**schema.get("properties", {}), "[]": schema.get("items")}.items():
        found += opened(part, f"{path}/{name}")
    for name, part in schema.get("$defs", {}).items():
        found += opened(part, f"/$defs/{name}")
    return sorted(found)


@pytest.mark.parametrize("name", ["cpu", "everything", "two-models"])
def test_the_notes_say_how_to_send_the_first_job(name: str) -> None:
    files = chart().render(merged(values_of(name), {}), name="r", namespace="images")
    notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
    assert "imagefleet submit --model" in notes
    assert "kubectl exec -n images deployment/" in notes


def test_the_example_of_the_guide_can_be_installed() -> None:
    guide = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    example = re.search(r"^`values.yaml`:\n\n```yaml\n(.+?)```$", guide, re.MULTILINE | re.DOTALL)
    assert example
    assert chart().render(yaml.safe_load(example[1]), name="fleet", namespace="images")
