"""Make docker/alerts.yaml, the chart's alerts for compose.yaml: `python -m tests.scripts.make_alerts`."""

import sys
from pathlib import Path

import yaml
from tests.chart.rendering import of_kind, render

PATH = Path(__file__).parents[2] / "docker" / "alerts.yaml"
_HEAD = "# The chart's alerts, made by `python -m tests.scripts.make_alerts`; docs/operating.md says what to do.\n"


def alerts() -> str:
    """The rules, for one model called default whose workers have the namespace `compose`."""
    values = {"metrics": {"rules": {"enabled": True}}, "models": [{"alias": "default", "source": _SOURCE}]}
    rules = of_kind(render("minimal", values, namespace="compose"), "PrometheusRule")["r-imagefleet"]["spec"]
    rules["groups"][0]["name"] = "imagefleet"
    return _HEAD + yaml.safe_dump(rules, sort_keys=False, width=120)


_SOURCE = {"kind": "image", "path": "/models/model"}

if __name__ == "__main__":
    PATH.write_text(alerts())
    sys.stdout.write("written\n")
