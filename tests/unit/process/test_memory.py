"""What the allocator and the garbage collector keep, and what they give back."""

import ctypes
import subprocess
import sys

import pytest

from imagefleet_worker.process.memory import MemoryTrim
from imagefleet_worker.process.registration import resident

_BLOCK = 4_096
_BLOCKS = 20_000


def test_memory_between_blocks_that_are_used_goes_back_to_the_system() -> None:
    """Without a trim it stays with the process: only the end of a heap is returned by itself."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("not glibc")
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(_BLOCK) for _ in range(_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, _BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    before = resident()["resident"]

    MemoryTrim().trim()

    freed = before - resident()["resident"]
    libc.free(blocks[-1])
    assert freed > _BLOCK * _BLOCKS / 2


#: A program whose four threads are alive together, and have each asked for memory; it prints the number of heaps.
_THREADS = """
import ctypes, os, threading
{first}
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
barrier = threading.Barrier(5)
def work():
    kept = libc.malloc(100)
    barrier.wait()
    barrier.wait()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
barrier.wait()
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, out)
libc.fclose(out)
barrier.wait()
"""


def heaps(first: str) -> int:
    """How many heaps there are after the line *first* and four threads."""
    program = [sys.executable, "-c", _THREADS.format(first=first)]
    run = subprocess.run(program, capture_output=True, check=True, timeout=60, env={})  # our own program
    return run.stdout.count(b"<heap ")


def test_threads_share_one_heap() -> None:
    """By default glibc gives each a heap of its own."""
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("not glibc")

    assert heaps("pass") == 5
    assert heaps("from imagefleet_worker.process import memory; memory.use_one_arena()") == 1
    assert (
        heaps(
            "os.environ['MALLOC_ARENA_MAX'] = '3'; from imagefleet_worker.process import memory; memory.use_one_arena()"
        )
        == 5
    )


def test_objects_from_before_are_left_out_of_collections() -> None:
    """So the cycles that are made later are collected long before they are a quarter of all objects."""
    program = """
import gc
from imagefleet_worker.process import memory
class Cycle:
    def __init__(self): self.me = self
before = [[] for _ in range(500_000)]
memory.leave_out_of_collections()
full = gc.get_stats()[2]["collections"]
for _ in range(100_000): Cycle()
print(gc.get_freeze_count() >= 500_000, gc.get_stats()[2]["collections"] > full)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "True True\n"
