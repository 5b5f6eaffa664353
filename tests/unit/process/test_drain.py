"""How long a process that ends at once tries to give its messages back; each case in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, threading
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.process.drain import Drain

class Leases:
    sent = 0
    def stop_claiming(self): pass
    def count(self): return 0
    def ends_sent(self): return self.sent
    def ends_unsent(self): return len(message_s) - self.sent
    def give_back_all(self, *, on_taken):
        on_taken()
        for seconds in message_s:
            threading.Event().wait(seconds)
            self.sent += 1
        return self.sent

class Attempts:
    def mark_all_lost(self): print("lost", flush=True)

def unregister():
    threading.Event().wait(unregister_s)
    print("unregistered", flush=True)

message_s, unregister_s, sentence = eval(sys.argv[1])
drain = Drain(
    leases=Leases(), attempts=Attempts(), heartbeat=None, seconds=60, most_silence_s=0.6, unregister=unregister
)
if "deaf" in sys.argv:
    os.close(2)
drain.give_back(code=ExitCode.DEVICE_FAULT, sentence=sentence)
"""
LATE = "Redis did not take back all jobs; other workers take them over when the leases run out"


def end(message_s: list[float], *, unregister_s: float = 0, sentence: str = "", is_deaf: bool = False) -> list[str]:
    """The lines of a process that ends: to both of its streams."""
    case = repr((message_s, unregister_s, sentence))
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, case, *(["deaf"] if is_deaf else [])],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 74
    said = [line for line in ended.stderr.splitlines() if line.startswith("imagefleet: ")]
    return [*(line for line in ended.stdout.splitlines() if "[warning" not in line), *said]


def test_a_slow_redis_takes_back_all_messages() -> None:
    """Each within the limit, all of them together far beyond it."""
    assert end([0.3] * 4, sentence="the device failed") == ["lost", "unregistered", "imagefleet: the device failed"]


def test_a_redis_that_hangs_is_waited_for_no_longer() -> None:
    assert end([0.1, 600], sentence="the device failed") == ["lost", f"imagefleet: the device failed; {LATE}"]
    assert end([600]) == ["lost", f"imagefleet: {LATE}"]


def test_a_redis_that_hangs_later_has_all_messages_and_nothing_is_said() -> None:
    assert end([0.1], unregister_s=600) == ["lost"]


@pytest.mark.parametrize("message_s", [[0.1], [600.0]])
def test_a_process_whose_reader_is_gone_ends_all_the_same(message_s: list[float]) -> None:
    assert end(message_s, sentence="the device failed", is_deaf=True)[0] == "lost"
