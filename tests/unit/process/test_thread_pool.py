"""The pool of threads: it grows and shrinks under running tasks."""

import threading

import pytest

from imagefleet_worker.process.thread_pool import ThreadPool


def test_a_pool_that_grows_runs_more_at_once_and_one_that_shrinks_less() -> None:
    pool = ThreadPool(limit=1)
    pool.start()
    both, release = threading.Barrier(3), threading.Event()

    def task() -> None:
        both.wait(10)
        release.wait(10)

    first = pool.apply_async(task, callback=lambda _: None)
    pool.grow(1)
    second = pool.apply_async(task, callback=lambda _: None)
    both.wait(10)  # the first is not lost, and the second runs beside it
    pool.shrink(1)
    assert pool.info["max-concurrency"] == pool.num_processes == 1
    release.set()
    first.get(timeout=10)
    second.get(timeout=10)
    pool.stop()


def test_one_thread_stays() -> None:
    pool = ThreadPool(limit=2)
    with pytest.raises(ValueError, match="one must stay"):
        pool.shrink(2)
    pool.stop()


def test_the_end_of_a_pool_waits_for_tasks_that_began_before_it_grew() -> None:
    pool = ThreadPool(limit=1)
    pool.start()
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def task() -> None:
        began.set()
        release.wait(10)
        ended.set()

    pool.apply_async(task, callback=lambda _: None)
    began.wait(10)
    pool.grow(3)
    threading.Timer(0.05, release.set).start()

    pool.stop()

    assert ended.is_set()
