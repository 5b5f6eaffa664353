"""Write the blocking client from the asyncio one.

    python -m tests.scripts.make_blocking_client            # write; `make fix` does it
    python -m tests.scripts.make_blocking_client --check    # fail if a file is out of date; `make check` does it

The two clients differ in `async` and `await`, in names, and in a few sentences. All of that is listed here.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[2] / "producer" / "imagefleet" / "client"
#: Each asyncio module, and the blocking one that is made from it.
MODULES: Final = {
    "aio.py": "blocking.py",
    "async_connection.py": "connection.py",
    "async_subscription.py": "subscription.py",
}
_HEADER: Final = "# Made from {source} by `make fix`: change that file instead.\n"
#: Sentences that are true of one of the two only; each must be in one of the modules.
SENTENCES: Final = {
    "submit jobs, wait for results and cancel, from asyncio.": "submit jobs, wait for results and cancel.",
    "A connection to the queue, for one event loop.": "A connection to the queue; threads may share one.",
    "Use it as `async for result in await client.map(prompts)`.": "Use it as `for result in client.map(prompts)`.",
    "over one Redis client, from asyncio.": "over one Redis client.",
    "A pool of sockets to one Redis, for one event loop.": "A pool of sockets to one Redis; threads may share it.",
    "over a socket of the pool, from asyncio.": "over a socket of the pool.",
}
_REPLACEMENTS: Final = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bfrom asyncio import", "from time import"),
    (r"\bredis\.asyncio\b", "redis"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\.aclose\b", ".close"),
    (r"\ba(closing|next)\b", r"\1"),
    (r"\basync_(connection|subscription|signed)\b", r"\1"),
    (r"\b(open|close)_async_redis\b", r"\1_redis"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsync(Client|Connection|Subscription|Generator)\b", r"\1"),
)
_RUFF: Final = (sys.executable, "-m", "ruff")


def blocking(source: str, name: str) -> str:
    """The blocking module for the text *source* of the asyncio module called *name*.

    Raises:
        ValueError: if something of asyncio is left, for which there must be a replacement here.
    """
    text = source
    for sentence, other in SENTENCES.items():
        text = text.replace(sentence, other)
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    if left := re.findall(r".*(?:[Aa]sync|await|__a[a-z]+__|\.a(?:close|next|send)\b).*", text):
        raise ValueError(f"{name}: no blocking form is known of {left[0].strip()!r}")
    return _formatted(_HEADER.format(source=name) + text)


def _formatted(text: str) -> str:
    """*text* with its imports sorted and its lines broken as `make fix` would."""
    mend = ("check", "--select", "I,F401,UP028", "--fix-only", "--unsafe-fixes", "--quiet")
    for command in (mend, ("format", "--quiet")):
        options = ("--stdin-filename", str(CLIENT / "blocking.py"), "-")
        done = subprocess.run([*_RUFF, *command, *options], input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


def main() -> int:
    """Write or check all modules; 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    is_check = parser.parse_args().check
    sources = {name: (CLIENT / name).read_text() for name in MODULES}
    if unused := [sentence for sentence in SENTENCES if not any(sentence in text for text in sources.values())]:
        sys.stderr.write(f"no module has this sentence any more: {unused[0]!r}\n")
        return 1
    stale: list[str] = []
    for name, target in MODULES.items():
        text, path = blocking(sources[name], name), CLIENT / target
        if not path.exists() or path.read_text() != text:
            stale.append(target)
            if not is_check:
                path.write_text(text)
    if stale and is_check:
        sys.stderr.write(f"{', '.join(stale)}: not what the asyncio client makes; run `make fix`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
