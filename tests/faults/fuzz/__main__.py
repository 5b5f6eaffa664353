"""A fuzz of the queue: mutated messages between good jobs, for two workers; then a count of what became of each.

    python -m tests.faults.fuzz --messages 5000 [--good 200] [--seed 1]

A message is accounted for if its job has ended, if Celery has a result for it, if it is a dead letter, or if it waits
for its time. Last line: one JSON object, in which all but `good` should be 0.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tests.faults.fuzz.run import fuzz


def main() -> None:
    """Run the fuzz and print what became of the messages."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = fuzz(Path(folder), messages=options.messages, good=options.good, seed=options.seed)
    for text in outcome.unaccounted[:20]:
        print(text[:400])
    print(json.dumps(outcome.counts()))


if __name__ == "__main__":
    main()
