"""docs/client.md: every public method of the client, with a line that runs, and what the methods return."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from tests.scripts.reference import markdown
from tests.scripts.reference.client_examples import EXAMPLES, PREAMBLE
from tests.scripts.reference.events_page import class_table

from imagefleet import (
    AsyncClient,
    Client,
    ClientSettings,
    GroupCanceled,
    LinkSettings,
    Outlook,
    Overview,
    Queue,
    RunningJob,
    Snapshot,
    WebhookRecord,
    WebhookState,
    Worker,
    WorkerState,
)

_INTRO = f"""`pip install .` in a clone brings the client: no torch, no boto3, no Celery. `Client` is for threads,
`AsyncClient` for asyncio. The lines below run one after the other, behind these:

```py
{PREAMBLE}```

`Client` is a context manager, which closes its sockets: `with Client.from_env() as client: ...`. A `JobLike` is a
prompt, a mapping of the [fields of a job](jobs.md), or a `GenerationJob`. `Links` are Celery signatures. Settings
are in [settings.md](settings.md#client), exceptions in [errors.md](errors.md).
"""
_ASYNC = """## AsyncClient

The same methods, to be awaited: `await client.submit(...)`, `async with AsyncClient.from_env() as client`. These give
asynchronous iterators:
"""
_RETURNED = """## What the methods return

[JobResult](results.md) and [JobEvent](events.md) have pages of their own.
"""
_SHOWN = (
    ClientSettings,
    LinkSettings,
    Snapshot,
    WebhookRecord,
    WebhookState,
    Outlook,
    GroupCanceled,
    Overview,
    Queue,
    Worker,
    WorkerState,
    RunningJob,
)


def make() -> str:
    """The page. A method without an example, or one that only one of the clients has, is an error."""
    names = public_methods(Client)
    assert sorted(names) == sorted(EXAMPLES), f"client_examples: {sorted(set(names) ^ set(EXAMPLES))}"
    assert set(names) == set(public_methods(AsyncClient)), "Client and AsyncClient differ"
    methods = [_method(name) for name in EXAMPLES]
    classes = [f"### {owner.__name__}\n\n{_summary(owner)}\n\n{class_table(owner)}" for owner in _SHOWN]
    parts = [_INTRO, "## Methods\n", *methods, _ASYNC, _iterators(), _RETURNED, *classes]
    return markdown.page("The client", "the docstrings of `imagefleet.Client`", *parts)


def public_methods(owner: type) -> list[str]:
    """The names of the methods that callers use."""
    return [name for name, value in inspect.getmembers(owner, callable) if not name.startswith("_")]


def _iterators() -> str:
    names = [name for name in EXAMPLES if "Generator" in _signature(getattr(Client, name)).rpartition("->")[2]]
    assert names, "no method of Client gives an iterator"
    waits = {name: "await " * inspect.iscoroutinefunction(getattr(AsyncClient, name)) for name in names}
    return "".join(f"- `async for ... in {wait}client.{name}(...)`\n" for name, wait in waits.items())


def _method(name: str) -> str:
    method = getattr(Client, name)
    text = inspect.getdoc(method) or ""
    prose, _, raises = text.partition("\nRaises:\n")
    paragraphs = [markdown.text_of(part) for part in prose.split("\n\n") if part.strip()]
    errors = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", raises, re.MULTILINE)
    listed = "".join(f"- Raises `{kind}`: {markdown.text_of(when)}\n" for kind, when in errors)
    body = "\n\n".join(paragraphs) + ("\n\n" + listed.rstrip("\n") if listed else "")
    return f"### {name}\n\n`{name}{_signature(method)}`\n\n{body}\n\n```py\n{EXAMPLES[name]}\n```\n"


def _signature(method: Callable[..., Any]) -> str:
    """As the source has it, without `self`."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    assert isinstance(node, ast.FunctionDef)
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    return f"({arguments})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def _summary(owner: type) -> str:
    return markdown.text_of((inspect.getdoc(owner) or "").partition("\n\n")[0])
