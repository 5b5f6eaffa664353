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


_TUNE = "from imagefleet_worker.process import memory; memory.tune_allocator()"

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
    assert heaps(_TUNE) == 1
    assert heaps(f"os.environ['MALLOC_ARENA_MAX'] = '3'; {_TUNE}") == 5


#: A program that frees a block and asks for it again, as each forward does; it prints how many pages that took.
_FORWARDS = """
import ctypes, os, resource
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def forward():
    block = libc.malloc(8 * 2**20)
    ctypes.memset(block, 1, 8 * 2**20)
    libc.free(block)
forward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): forward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str, **env: str) -> int:
    """How many pages ten blocks of 8 MiB took anew from the system, after the line *first* and a block like them."""
    program = [sys.executable, "-c", _FORWARDS.format(first=first)]
    run = subprocess.run(program, capture_output=True, check=True, timeout=60, env=env)  # our own program
    return int(run.stdout)


def test_the_next_forward_takes_the_memory_of_the_last_one() -> None:
    """By default glibc returns the pages of a large block to the system, which clears each before it gives it again."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("not glibc")

    assert faults(_TUNE) < 100
    assert faults("pass") > 1_000
    assert faults(_TUNE, MALLOC_MMAP_THRESHOLD_="65536") > 10_000, "the variable does not decide"


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
