"""What probes and people hear about the workers of several devices."""

import os
from pathlib import Path

import pytest

from imagefleet_worker.health import device_status, heartbeat_file, probes
from imagefleet_worker.health.device_status import DeviceStatus, DeviceStatusFile

READY = DeviceStatus("gpu0", "ready", 41, 0, 0, "ready: the device is free")
LOADING = DeviceStatus("gpu1", "loading", 42, 1, 0, "loading: the model has been loading for 3 s")
BAD = DeviceStatus("gpu2", "bad", None, 4, 5, "ended with 74: 5 faults within 3600 s: look at the device")


def _judge(*entries: DeviceStatus, at: float = 99.0, birth: str | None = "1") -> dict[str, bool]:
    found = DeviceStatusFile(pid=1, born="1", at=at, devices=list(entries))
    return {probe: device_status.judge(probe, found, now=100.0, birth=birth).is_good for probe in probes.PROBES}


def test_one_worker_that_takes_jobs_is_enough() -> None:
    assert _judge(READY, LOADING, BAD) == {"live": True, "ready": True, "startup": True}


def test_workers_that_load_are_alive_and_no_more() -> None:
    assert _judge(LOADING, BAD) == {"live": True, "ready": False, "startup": False}


@pytest.mark.parametrize(("at", "birth"), [(10.0, "1"), (99.0, None), (99.0, "2")])
def test_nobody_who_watches_is_bad(at: float, birth: str | None) -> None:
    assert not any(_judge(READY, at=at, birth=birth).values())


def test_probe_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device_status.write(tmp_path, [READY, BAD])
    monkeypatch.setenv(probes.FOLDER_VARIABLE, str(tmp_path))

    assert probes.main(["ready"]) == 0

    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["gpu0", "ready"],
        ["gpu2", "bad"],
    ]
    found = device_status.read(tmp_path)
    assert found
    assert (found.pid, found.born, found.devices) == (os.getpid(), heartbeat_file.birth_of(os.getpid()), [READY, BAD])


def test_file_that_is_no_roll_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices.json").write_text("{}")
    monkeypatch.setenv(probes.FOLDER_VARIABLE, str(tmp_path))
    assert probes.main(["live"]) == 2
