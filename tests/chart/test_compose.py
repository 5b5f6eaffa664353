"""compose.yaml is what docker-compose accepts, and as careful as the chart."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scripts.make_alerts import PATH as ALERTS
from tests.scripts.make_alerts import alerts
from tests.support.needs import missing

from imagefleet_worker.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("imagefleet-")}


@pytest.mark.parametrize("profile", ["cpu", "gpu1", "gpu2", "gpu4"])
def test_docker_compose_takes_it(profile: str) -> None:
    program = shutil.which("docker-compose") or missing("docker-compose, of Debian's package of that name")
    command = [program, "-f", str(DOCKER / "compose.yaml"), "--profile", profile, "config"]
    env = {"PATH": os.environ["PATH"], "S3_SECRET": "a-secret-of-this-test"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_refused_without_the_secret() -> None:
    program = shutil.which("docker-compose") or missing("docker-compose, of Debian's package of that name")
    command = [program, "-f", str(DOCKER / "compose.yaml"), "config"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "any long word" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.search(r":(local|v?\d+\.\d+\.\d+|RELEASE\.\S+)$", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_redis_loses_nothing_by_itself() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


@pytest.mark.parametrize(("profile", "count"), [("gpu1", 1), ("gpu2", 2), ("gpu4", 4)])
def test_a_profile_has_a_worker_for_each_gpu(profile: str, count: int) -> None:
    workers = [each for each in OURS.values() if profile in each.get("profiles", ())]
    devices = [each["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for each in workers]
    assert devices == [[str(index)] for index in range(count)]


def test_variables_are_those_of_the_settings() -> None:
    known = {
        f"{group.model_config['env_prefix']}{name}".upper()
        for group in Settings.groups().values()
        for name in group.model_fields
    }
    used = {name for each in OURS.values() for name in each["environment"] if name.startswith("IMAGEFLEET_")}
    assert used <= known
    assert {"IMAGEFLEET_REDIS_URL", "IMAGEFLEET_STORAGE_BUCKET", "IMAGEFLEET_MODEL_SOURCE"} <= used


def test_a_worker_has_longer_than_its_drain() -> None:
    drain_s = float(SERVICES["cpu"]["environment"]["IMAGEFLEET_WORKER_DRAIN_S"])
    assert SERVICES["cpu"]["stop_grace_period"] == "2m"
    assert drain_s <= 120 - 5


def test_the_alerts_are_those_of_the_chart() -> None:
    assert ALERTS.read_text() == alerts(), "run: python -m tests.scripts.make_alerts"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("promtool") or missing("promtool, of Debian's package prometheus")
    shutil.copy(ALERTS, tmp_path)
    text = (DOCKER / "prometheus.yaml").read_text()
    (tmp_path / "prometheus.yaml").write_text(text.replace("/etc/prometheus/", f"{tmp_path}/"))
    done = subprocess.run(
        [program, "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {
        name for group in yaml.safe_load(text)["scrape_configs"] for name in group["dns_sd_configs"][0]["names"]
    } == {name for name, each in OURS.items() if "IMAGEFLEET_METRICS_PORT" in each["environment"] and name != "flower"}
