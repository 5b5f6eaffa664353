"""The wheel: complete, and light where it is installed without extras."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.packaging.conftest import ROOT, Installed

import imagefleet

pytestmark = pytest.mark.timeout(400)


def test_wheel_holds_every_module_of_both_halves_and_nothing_else(wheel: Path) -> None:
    sources = {
        str(path.relative_to(ROOT / half))
        for half in ("producer", "worker")
        for path in (ROOT / half).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources


def test_client_alone_brings_no_torch_no_boto3_and_no_celery(installed: Installed) -> None:
    """So a service may have the version of Celery that it likes, or none."""
    printed = installed.python(
        "import imagefleet, importlib.util as u, json;"
        "heavy = ('torch', 'boto3', 'diffusers', 'moto', 'celery', 'kombu');"
        "print(json.dumps([name for name in heavy if u.find_spec(name)]))"
    )
    assert json.loads(printed) == []


def test_import_loads_nothing_heavy(installed: Installed) -> None:
    printed = installed.python("import imagefleet, json, sys; print(json.dumps(sorted(sys.modules)))")
    assert not {"celery", "kombu", "PIL", "typer", "torch"} & set(json.loads(printed))


def test_all_exported_names_are_there(installed: Installed) -> None:
    printed = installed.python(
        "import imagefleet, json; [getattr(imagefleet, n) for n in imagefleet.__all__];"
        "print(json.dumps(imagefleet.__all__))"
    )
    assert json.loads(printed) == imagefleet.__all__


def test_import_takes_less_than_half_a_second_of_cpu_more_than_celery(installed: Installed) -> None:
    """The least of three, because other processes only ever add."""
    timed = "import time; a = time.process_time(); import {}; print(time.process_time() - a)"
    celery = [sys.executable, "-c", timed.format("celery")]  # of this environment, for the client brings none
    baseline = min(float(subprocess.check_output(celery, text=True)) for _ in range(3))
    assert min(float(installed.python(timed.format("imagefleet"))) for _ in range(3)) < baseline + 0.5


def test_commands_are_installed_and_say_what_up_needs(installed: Installed) -> None:
    program = installed.folder / "bin" / "imagefleet"
    printed = installed.python(
        "import subprocess, sys;"
        f"done = subprocess.run([{str(program)!r}, 'up', '--model', '.'], capture_output=True, text=True);"
        "print(done.returncode, done.stdout, done.stderr)"
    )
    assert printed.startswith("2 ")
    assert "imagefleet[worker,local]" in printed
