"""`imagefleet-worker doctor` as people run it: a process, a tiny model, a real Redis and a real S3."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import command_line
from tests.support.c2pa_authority import Authority, variables
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import clean_environment
from tests.support.models.tiny_pipelines import FAMILIES, build

from imagefleet_worker.cli import main
from imagefleet_worker.doctor.registry import CHECKS

pytestmark = pytest.mark.timeout(300)

#: All seven take two minutes, so the short run looks at one.
_ALL = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """What a worker needs, without a worker."""
    with running_fleet(tmp_path_factory.mktemp("doctor"), append_only=True) as fleet:
        yield fleet


def doctor(fleet: Fleet, *options: str, **changed: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "imagefleet-worker"), "doctor", *options]
    env = {**clean_environment(), **fleet.environment(changed)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("family", FAMILIES if _ALL else ["sd"])
def test_all_is_well_with_a_tiny_model_on_real_servers(fleet: Fleet, tmp_path, family):
    source = build(family, tmp_path / family)
    out = tmp_path / "out"
    options = ("--json", "--rows", "8", "--steps", "4", "--out", str(out))
    changed = {
        "IMAGEFLEET_MODEL_SOURCE": str(source),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "IMAGEFLEET_MODEL_CHECKER": "tests.support.checkers:by_prompt",
        **variables(Authority().write(tmp_path / "c2pa")),
    }
    done = doctor(fleet, *options, **changed)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    checks = {check["check"]: check for check in report["checks"]}
    assert list(checks) == list(CHECKS)
    # whether joining pays on a machine with other work is not for this test to say
    assert {check["verdict"] for name, check in checks.items() if name != "throughput"} == {"ok"}, report
    assert report["healthy"]
    assert checks["defaults"]["facts"]["size"] == "64x64"
    assert checks["checker"]["facts"]["labels"] == {"bad": 0.1}
    assert checks["c2pa"]["facts"]["algorithm"] == "es256"
    assert len(checks["throughput"]["facts"]["points"]) >= 3
    assert json.loads((out / "report.json").read_text()) == report
    assert (out / "throughput.png").read_bytes().startswith(b"\x89PNG")


def test_one_failed_check_makes_the_command_end_with_one(fleet: Fleet, tmp_path):
    source = build("sd", tmp_path / "sd")
    source.chmod(0o777)
    done = doctor(fleet, "--only", "permissions", "--only", "redis", IMAGEFLEET_MODEL_SOURCE=str(source))
    assert done.returncode == 1
    assert "every user may write to" in " ".join(done.stdout.split())
    assert "1 ok, 1 failed, 14 skipped" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_check_that_does_not_exist_and_settings_that_are_wrong_are_refused(fleet: Fleet):
    done = command_line.run("doctor", "--only", "eyes", main=main, env=fleet.environment())
    assert done.returncode == 2
    assert "no check is called eyes" in " ".join(done.stderr.replace("│", " ").split())
    wrong = fleet.environment({"IMAGEFLEET_ENGINE_MODE": "fast"})
    assert command_line.run("doctor", main=main, env=wrong).returncode == 78


def test_what_needs_no_model_loads_no_torch(fleet: Fleet):
    code = (
        "import sys; sys.argv[1:] = ['doctor', '--only', 'redis', '--only', 'bucket', '--only', 'permissions']\n"
        "from imagefleet_worker.cli.commands import app\n"
        "app(standalone_mode=False)\n"
        "sys.exit(99 if {'torch', 'diffusers', 'matplotlib', 'celery'} & set(sys.modules) else 0)"
    )
    env = {**clean_environment(), **fleet.environment()}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 ok, 13 skipped" in done.stdout
