"""What a probe says, for every state that a worker can be in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagefleet_worker.health import heartbeat_file, probes
from imagefleet_worker.health.heartbeat_file import Beat
from imagefleet_worker.settings import HealthSettings

NOW = 10_000.0
WELL = Beat(
    pid=7,
    born="123",
    at=NOW - 1,
    state="ready",
    state_since=NOW - 500,
    is_consuming=True,
    consuming_since=NOW - 499,
    loop_at=NOW - 1,
    redis_problem="",
    redis_at=NOW - 1,
    redis_since=NOW - 500,
    device_since=None,
    device_at=NOW - 400,
    device_timeout_s=900,
)
BUSY = WELL._replace(device_since=NOW - 2000, device_at=NOW - 3)
LOST = WELL._replace(redis_problem="ConnectionError: refused", redis_at=NOW - 60, redis_since=NOW - 58)

TABLE = [
    # what is so, the beat, the probes that are content, the first words of `ready`
    ("nothing runs on the device", WELL, "live ready startup", "ready: the device is free"),
    ("a long job makes progress", BUSY, "live ready startup", "ready: the device has been busy for 2000 s"),
    ("the model loads", WELL._replace(state="loading", at=NOW - 300), "live", "loading"),
    ("it drains", WELL._replace(state="draining", is_consuming=False, loop_at=NOW - 99), "live startup", "draining"),
    ("it drains while Redis is away", LOST._replace(state="draining"), "live startup", "draining"),
    ("Redis refuses", LOST, "live startup", "lost redis: no answer for 60 s; ConnectionError: refused"),
    ("Redis is away for hours", LOST._replace(redis_at=1.0, loop_at=2.0), "live startup", "lost redis"),
    ("Redis keeps silent", WELL._replace(redis_at=NOW - 16), "live startup", "lost redis"),
    (
        "Redis is back, Celery not yet",
        WELL._replace(is_consuming=False, redis_since=NOW - 40),
        "live startup",
        "reco",
    ),
    ("Celery does not come back", WELL._replace(is_consuming=False), "startup", "wedged consumer: Redis"),
    ("the event loop hangs", WELL._replace(loop_at=NOW - 31), "startup", "wedged consumer: Celery's event"),
    (
        "it hung with Redis, now back",
        WELL._replace(loop_at=NOW - 99, redis_since=NOW - 9),
        "live startup",
        "reconnecting: Celery's event loop has not turned for 99 s",
    ),
    ("the device hangs", BUSY._replace(device_at=NOW - 901), "startup", "stuck device"),
    ("the device is idle for long", WELL._replace(device_at=1.0), "live ready startup", "ready"),
    ("a job ran into the drain and hangs", BUSY._replace(device_at=1.0, state="draining"), "startup", "stuck"),
    ("the process is stopped", WELL._replace(at=NOW - 31), "startup", "frozen"),
]


@pytest.mark.parametrize(("beat", "good", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_state_has_its_verdict(beat: Beat, good: str, words: str) -> None:
    """A restart for what only a restart heals, no jobs for what cannot take them, and the reason in words."""
    verdicts = {probe: probes.judge(probe, beat, now=NOW, birth="123") for probe in probes.PROBES}

    assert good.split() == [probe for probe, verdict in verdicts.items() if verdict.is_good]
    assert verdicts["ready"].words.startswith(words)
    assert verdicts["live"].words == verdicts["ready"].words


@pytest.mark.parametrize("probe", probes.PROBES)
@pytest.mark.parametrize("birth", [None, "124"], ids=["gone", "another process of that id"])
def test_the_file_of_an_earlier_process_counts_for_nothing(probe: str, birth: str | None) -> None:
    """In a container the worker is process 1 again after a restart, and the folder may have stayed."""
    verdict = probes.judge(probe, WELL, now=NOW, birth=birth)

    assert not verdict.is_good
    assert verdict.words.startswith("ended: process 7")


@pytest.mark.parametrize("probe", probes.PROBES)
def test_without_a_heartbeat_nothing_is_well(probe: str) -> None:
    """Startup waits, and the words say what for."""
    assert probes.judge(probe, None, now=NOW, birth=None) == (False, "no heartbeat: no worker has started here yet")


def test_a_beat_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And no other file stays in the folder."""
    heartbeat_file.write(str(tmp_path), BUSY)

    assert heartbeat_file.read(str(tmp_path)) == BUSY
    assert [path.name for path in tmp_path.iterdir()] == [heartbeat_file.FILE_NAME]


def test_a_process_has_one_birth_until_its_end() -> None:
    """A zombie, whose id is still taken, has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    first = heartbeat_file.birth_of(child.pid)
    assert first
    assert first == heartbeat_file.birth_of(child.pid)

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert heartbeat_file.birth_of(child.pid) is None
    child.communicate()
    assert heartbeat_file.birth_of(child.pid) is None


@pytest.mark.parametrize("arguments", [[], ["alive"], ["live", "ready"]])
def test_an_unknown_probe_is_no_verdict(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Code 2 and the probes there are, so that nobody takes it for a sick worker."""
    assert probes.main(arguments) == 2
    assert "live|ready|startup" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '{"pid": 1}'])
def test_a_file_of_another_version_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """Code 2, and which file it is."""
    monkeypatch.setenv(probes.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / heartbeat_file.FILE_NAME).write_text(content)

    assert probes.main(["live"]) == 2
    assert f"{tmp_path}/worker.json is no heartbeat of this version" in capsys.readouterr().err


def test_without_a_folder_the_probe_names_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """The same variable as the worker's."""
    assert probes.main(["live"]) == 2
    assert "IMAGEFLEET_HEALTH_FOLDER" in capsys.readouterr().err
    prefix = HealthSettings.model_config.get("env_prefix")
    assert "folder" in HealthSettings.model_fields
    assert f"{prefix}FOLDER" == probes.FOLDER_VARIABLE
