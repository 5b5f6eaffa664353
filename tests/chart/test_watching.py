"""Dashboards and alerts ask only for metrics that the worker has, and alerts fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.chart.rendering import CHART, of_kind, render
from tests.support.needs import missing

from imagefleet_worker.observability.metrics import Metrics

RULE_TESTS = Path(__file__).parent / "rule_tests.yaml"
RUNBOOK = Path(__file__).parents[2] / "docs" / "operating.md"


def metric_names() -> set[str]:
    """All names that a worker's page may have, those of histograms spelt out."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", Metrics(model="any").page().decode(), re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def asked(text: str) -> set[str]:
    return set(re.findall(r"\bimagefleet_[a-z_]+(?=[{\[(,)\s]|$)", text)) - {"imagefleet_model"}


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    board = json.loads((CHART / "dashboards" / "imagefleet.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [variable["query"] for variable in board["templating"]["list"]]
    used = set().union(*map(asked, queries))
    assert used
    assert used <= metric_names()


def test_the_dashboard_shows_every_metric() -> None:
    """What is measured and never looked at is not worth measuring."""
    text = (CHART / "dashboards" / "imagefleet.json").read_text()
    assert [name for name in metric_names() if name not in text] == []


def test_every_panel_is_there_once_and_overlaps_no_other() -> None:
    panels = json.loads((CHART / "dashboards" / "imagefleet.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)


def test_the_config_map_holds_the_dashboard_as_it_is() -> None:
    data = of_kind(render("everything"), "ConfigMap")["fleet-dashboard"]["data"]
    assert data["imagefleet.json"] == (CHART / "dashboards" / "imagefleet.json").read_text()


def rules() -> list[dict[str, str]]:
    return of_kind(render("two-models"), "PrometheusRule")["r-imagefleet"]["spec"]["groups"][0]["rules"]


def test_alerts_and_scaling_ask_only_for_metrics_that_exist() -> None:
    queries = [rule["expr"] for rule in rules()]
    for scaler in of_kind(render("two-models"), "ScaledObject").values():
        queries += [trigger["metadata"].get("query", "") for trigger in scaler["spec"]["triggers"]]
    assert set().union(*map(asked, queries)) <= metric_names()


def test_every_alert_has_its_chapter_in_the_runbook() -> None:
    chapters = set(re.findall(r"^### (\S+)$", RUNBOOK.read_text(), re.MULTILINE))
    for rule in rules():
        assert rule["alert"] in chapters
        assert rule["annotations"]["runbook"] == f"docs/operating.md#{rule['alert'].lower()}"


def test_every_alert_has_a_test() -> None:
    cases = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    tested = {check["alertname"] for case in cases for check in case["alert_rule_test"] if check["exp_alerts"]}
    assert tested == {rule["alert"] for rule in rules()}


@pytest.fixture
def promtool() -> str:
    return shutil.which("promtool") or missing("promtool, of Debian's package prometheus")


def test_alerts_fire_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    """Prometheus's own tool plays the series of rule_tests.yaml."""
    spec = of_kind(render("two-models"), "PrometheusRule")["r-imagefleet"]["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    shutil.copy(RULE_TESTS, tmp_path)
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", RULE_TESTS.name]):
        done = subprocess.run([promtool, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
