"""docs/settings.md: the variables of workers and of the client."""

import os
from unittest.mock import patch

from pydantic_settings import BaseSettings
from tests.scripts.reference import fields, markdown
from tests.scripts.reference.attributes import attributes

from imagefleet import ClientSettings
from imagefleet.links.settings import VARIABLES as LINK_VARIABLES
from imagefleet_worker.settings import Settings

_HEADER = ("variable", "default", "allowed", "meaning")
_INTRO = """Variables of a worker are read once when it starts. A wrong value ends the worker with exit code 78 and
a message that names every wrong variable; so does a missing `IMAGEFLEET_MODEL_SOURCE` or `IMAGEFLEET_STORAGE_BUCKET`.
`imagefleet-worker settings` shows the values that are in force. Times are in seconds.
"""
_CLIENT = """## Client

The client and the command `imagefleet` read these, and `IMAGEFLEET_LIMIT_*` as above.
`Client.from_env()` makes a client with them.
"""
#: Variables of the client by the name of the setting, without those of the limits.
CLIENT_VARIABLES = {
    "url": "IMAGEFLEET_REDIS_URL",
    "key_prefix": "IMAGEFLEET_REDIS_KEY_PREFIX",
    "sentinel_master": "IMAGEFLEET_REDIS_SENTINEL_MASTER",
    "max_queued": "IMAGEFLEET_MAX_QUEUED",
}
_LINKS = """For links that it signs itself (`client.url`, `imagefleet url`) boto3 finds the credentials, and these of
the workers' variables are read: {}.
"""


def variables(group: type[BaseSettings]) -> dict[str, fields.FieldRow]:
    """The variables of one group of settings."""
    prefix = str(group.model_config.get("env_prefix", ""))
    return {f"{prefix}{row.name.upper()}": row for row in fields.rows(group)}


def all_variables() -> set[str]:
    """Every variable that a worker or a client reads."""
    workers = {name for group in Settings.groups().values() for name in variables(group)}
    return workers | set(CLIENT_VARIABLES.values())


def make() -> str:
    """The page."""
    parts = [_INTRO, *(_section(group) for group in Settings.groups().values()), _client()]
    return markdown.page("Settings", "the settings classes", *parts)


def _section(group: type[BaseSettings]) -> str:
    title = f"{group.model_config.get('env_prefix')!s}*"
    lines = [_line(name, row) for name, row in variables(group).items()]
    return f"## {title}\n\n{group.__doc__}\n\n{markdown.table(_HEADER, lines)}"


def _line(name: str, row: fields.FieldRow) -> tuple[str, ...]:
    allowed = row.limits or {"boolean": "`true`, `false`", "object": "JSON", "integer": "a whole number"}.get(
        row.type, ""
    )
    return markdown.code(name), markdown.code(row.default), markdown.cell(allowed), markdown.cell(row.meaning)


def _client() -> str:
    with patch.dict(os.environ, clear=True):
        defaults = ClientSettings.from_env()
    meanings = {each.name: each.meaning for each in attributes(ClientSettings)}
    lines = [
        (markdown.code(variable), markdown.code(str(getattr(defaults, name))), markdown.cell(meanings[name]))
        for name, variable in CLIENT_VARIABLES.items()
    ]
    links = _LINKS.format(", ".join(map(markdown.code, LINK_VARIABLES.values())))
    return f"{_CLIENT}\n{markdown.table(('variable', 'default', 'meaning'), lines)}\n{links}"
