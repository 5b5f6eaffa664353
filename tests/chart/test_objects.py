"""What the chart renders is what clusters accept, for every set of values."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from helm_python import lint
from tests.chart.rendering import CHART, VALUE_SETS, Object, render, values_of

KUBERNETES_VERSIONS = ("1.30", "1.33", "1.37")
CUSTOM = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "crds").glob("*.json")}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_object_is_valid_without_an_unknown_field(name: str, version: str) -> None:
    """Kubernetes's own kinds against its schemas, custom resources against what we use of them."""
    objects = render(name)
    assert objects
    for found in objects:
        if found["kind"] in CUSTOM:
            jsonschema.validate(found, CUSTOM[found["kind"]])
        else:
            kubernetes_validate.validate(found, version, strict=True)


def test_the_validation_itself_refuses_what_is_wrong() -> None:
    """A misspelt field and a wrong type do not pass, so the test above says something."""
    deployment = next(found for found in render("minimal") if found["kind"] == "Deployment")
    for field, value in (("replica", 1), ("replicas", "two")):
        wrong = {**deployment, "spec": {**deployment["spec"], field: value}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, KUBERNETES_VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_helm_lint_finds_nothing(name: str) -> None:
    report = lint(CHART, values_of(name), strict=True, namespace="images")
    assert not report["errors"]
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_selector_finds_the_pods_that_it_is_for_and_no_others(name: str) -> None:
    """Deployments of two models share most labels; none may adopt the other's pods."""
    objects = render(name)
    pods = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in objects
        if found["kind"] in ("Deployment", "StatefulSet")
    }
    for found in objects:
        if found["kind"] not in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            continue
        wanted = found["spec"]["selector"]["matchLabels"].items()
        assert [pod for pod, labels in pods.items() if wanted <= labels.items()] == [found["metadata"]["name"]]


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_selector_holds_a_version(name: str) -> None:
    """Selectors cannot be changed, so an upgrade would fail."""
    for found in render(name):
        selector: Object = found.get("spec", {}).get("selector", {})
        assert "0.1.0" not in json.dumps(selector)


def test_the_release_is_in_the_name_of_every_object() -> None:
    """Two releases live in one namespace."""
    names = [(found["kind"], found["metadata"]["name"]) for found in render("two-models")]
    assert len(set(names)) == len(names)
    assert all(name.startswith("r-imagefleet") for _, name in names)


@pytest.mark.parametrize("release", ["123", "1e3", "true", "no", "null", "team.images", "0x1f"])
@pytest.mark.parametrize("name", VALUE_SETS)
def test_any_name_of_a_release_gives_texts_and_names(name: str, release: str) -> None:
    """YAML reads some names as numbers or booleans, and services have names without dots."""
    for found in render(name, release=release):
        labels = found["metadata"].get("labels", {})
        assert all(isinstance(value, str) for value in (found["metadata"]["name"], *labels.values())), found["metadata"]
        assert labels["app.kubernetes.io/instance"] == release
        if found["kind"] == "Service":
            assert "." not in found["metadata"]["name"]
            assert all(isinstance(value, str) for value in found["spec"]["selector"].values())
