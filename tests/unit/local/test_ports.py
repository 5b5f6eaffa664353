"""The ports of servers that start: two fleets at the same time do not choose the same ones."""

import socket
import subprocess
import sys

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
