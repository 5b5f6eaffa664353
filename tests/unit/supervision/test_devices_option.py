"""The option --devices: what it refuses before it starts a worker."""

import pytest
from tests.support import command_line

from imagefleet_worker.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--devices", "all"], "cpu:1"),
        (["--devices", "0,0"], "named twice"),
        (["--devices", "cpu:0"], "cpu:4"),
        (["--devices", "cpu:2", "--", "-n", "mine"], "--devices decides that"),
        (["--devices"], "usage"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], words: str) -> None:
    ended = command_line.run(*arguments, main=main, env={"CUDA_VISIBLE_DEVICES": ""})
    assert ended.returncode in (2, 78)
    assert words in ended.stderr


def test_without_a_model_no_worker_is_started() -> None:
    """Each would end with 71, five times in a row, and the device would be blamed."""
    env = {"IMAGEFLEET_MODEL_SOURCE": "", "IMAGEFLEET_STORAGE_BUCKET": "images"}
    ended = command_line.run("--devices", "cpu:1", main=main, env=env)
    assert (ended.returncode, ended.stderr) == (78, "imagefleet: set IMAGEFLEET_MODEL_SOURCE: a worker needs it\n")
