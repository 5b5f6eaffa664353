"""The baton: one at a time, and nobody is held up by who keeps it."""

import threading
import time

from imagefleet_worker.baton import Baton


def test_one_at_a_time_has_it() -> None:
    baton, inside, most = Baton(), 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            baton.take()
            with counting:
                inside += 1
                most = max(most, inside)
            with counting:
                inside -= 1
            baton.pass_on()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_who_keeps_it_loses_it() -> None:
    """The next comes after a moment, those behind it wait for that one only, and the first passes on nothing."""
    baton, keeps, may_end = Baton(), threading.Event(), threading.Event()

    def keep() -> None:
        baton.take()
        keeps.set()
        may_end.wait(10)
        baton.pass_on()

    thread = threading.Thread(target=keep)
    thread.start()
    keeps.wait(10)
    began = time.monotonic()
    baton.take()
    assert time.monotonic() - began < 5
    may_end.set()
    thread.join()

    assert baton._free.locked(), "the first gave away what is another's by now"
    baton.pass_on()
    assert not baton._free.locked()


def test_passing_on_what_one_does_not_have_is_nothing() -> None:
    baton = Baton()
    baton.pass_on()
    baton.take()
    baton.pass_on()
    baton.pass_on()
    assert not baton._free.locked()
