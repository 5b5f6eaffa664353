"""The ports of servers that start: two fleets at the same time do not choose the same ones."""

import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from imagefleet_worker.local.ports import usual_port
from imagefleet_worker.supervision.child_process import free_port

_OTHER = "from imagefleet_worker.local.ports import usual_port; print(usual_port({}), flush=True); input()"


def test_a_port_that_another_fleet_has_chosen_is_left_to_it() -> None:
    port = free_port()
    command = [sys.executable, "-c", _OTHER.format(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert int(other.stdout.readline()) == port
        assert usual_port(port) != port  # nothing listens there yet
        other.stdin.close()
    assert usual_port(port) == port


def test_a_port_on_which_something_listens_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert usual_port(listener.getsockname()[1]) != listener.getsockname()[1]


def test_a_free_port_is_none_that_an_outgoing_connection_could_take() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not outgoing.exists():
        pytest.skip("not Linux")
    first, last = map(int, outgoing.read_text().split())

    assert not any(first <= free_port() <= last for _ in range(100))


def test_a_free_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        drawn = iter([taken, taken, other := free_port()])
        monkeypatch.setattr(random, "randrange", lambda *_: next(drawn))
        assert free_port() == other

        monkeypatch.setattr(random, "randrange", lambda *_: taken)
        assert free_port() != taken
