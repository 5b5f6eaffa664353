"""What an idle worker costs, and how fast it wakes: one process of the tiny app on the fleet's transport.

    python -m tests.benchmarks.wakeup [--seconds 10] [--messages 100]

Last line: one JSON object. `idle_cpu_percent` of one core and `redis_commands_per_idle_worker_s` over the idle seconds;
`wake_ms_p50` and `wake_ms_p99` from the push of a message to the first line of its task, each push to an idle worker.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil
from tests.faults.support.tiny_workers import TinyWorkers, running_tiny_workers


def idle_cost(tiny: TinyWorkers, pid: int, seconds: float) -> tuple[float, float]:
    """CPU in percent of a core, and commands a second, of a worker with nothing to do."""
    process = psutil.Process(pid)
    threading.Event().wait(3)  # the start is over
    cpu, commands, begun = sum(process.cpu_times()[:2]), _commands(tiny), time.monotonic()
    threading.Event().wait(seconds)
    took = time.monotonic() - begun
    return 100 * (sum(process.cpu_times()[:2]) - cpu) / took, (_commands(tiny) - commands - 1) / took


def wakes_ms(tiny: TinyWorkers, count: int) -> list[float]:
    """From push to start, in milliseconds, at odd moments."""
    found: list[float] = []
    for number in range(count):
        threading.Event().wait(0.05 + 0.037 * (number % 7))
        pushed_at = time.time()
        tiny.push(f"wake{number}")
        found.append(1000 * (tiny.wait_for("start", f"wake{number}")["at"] - pushed_at))
    return found


def _commands(tiny: TinyWorkers) -> int:
    """Commands that clients have sent; those of scripts are counted as calls of their own, so they are left out."""
    stats = tiny.raw.info("commandstats")
    scripted = {"cmdstat_time", "cmdstat_rpop", "cmdstat_zrangebyscore", "cmdstat_hget"}
    return sum(each["calls"] for name, each in stats.items() if name not in scripted)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--messages", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_tiny_workers(Path(folder)) as tiny:
        worker = tiny.start(options=())
        cpu, commands = idle_cost(tiny, worker.pid, options.seconds)
        wakes = wakes_ms(tiny, options.messages)
    report = {
        "idle_cpu_percent": round(cpu, 2),
        "wake_ms_p50": round(statistics.median(wakes), 2),
        "wake_ms_p99": round(statistics.quantiles(wakes, n=100)[98], 2),
        "redis_commands_per_idle_worker_s": round(commands, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
