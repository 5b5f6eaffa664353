"""Protocol 1 of Celery's messages, as its setting `task_protocol = 1` sends them: rewritten in protocol 2.

The scripts in Redis read the headers of protocol 2 alone. So a message of protocol 1 is rewritten once, and given back
to its list: an `eta`, a cancel and a tenant then count for it as for any other.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

#: What protocol 1 has in its body, and protocol 2 in its headers.
_HEADERS: Final = (
    *("lang", "task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "eta", "expires", "retries"),
    *("timelimit", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"),
)
#: What both have in their body.
_EMBED: Final = ("callbacks", "errbacks", "chord")


def rewrite(envelope: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The message *envelope*, whose decoded *body* is of protocol 1, in protocol 2.

    Nothing is checked: what is wrong with it is found when it is claimed again.
    """
    given = envelope.get("headers")
    headers = {name: body[name] for name in _HEADERS if name in body} | (given if isinstance(given, dict) else {})
    if "group" not in headers and "taskset" in body:
        headers["group"] = body["taskset"]
    headers.pop("compression", None)
    embed = {name: body[name] for name in _EMBED if name in body}
    parts = [body.get("args", []), body.get("kwargs", {}), embed]
    properties = envelope.get("properties")
    kept = {k: v for k, v in properties.items() if k != "body_encoding"} if isinstance(properties, dict) else {}
    return json.dumps(
        {
            "body": json.dumps(parts, default=str),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": kept,
        }
    )
