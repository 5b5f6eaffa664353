"""Scripts: Lua files as commands for Redis.

A file `lua/<name>.lua` is one transition: Redis runs it as a whole or not at all. Its header
explains what it does, and names the files of `lua/lib` that it uses, its keys and its arguments:

    -- LIB now, leave
    -- KEYS
    --   record          hash: the record of the job
    -- ARGV
    --   channel, event  of the message that is published
    --   outgoing...     pairs of a list and a message

Each name is a local variable of the script and a keyword of the call. A name that ends in `...` comes last; it is a
table in the script, and takes all values that are left. The header of a file in `lib` names what the
file needs: other files, and keys and arguments that every script must have which uses it.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

Command = tuple[str | int | float, ...]

LUA: Final = Path(__file__).with_name("lua")

_REST: Final = "..."


class Header(NamedTuple):
    """The declarations in the comment at the top of a file."""

    libs: tuple[str, ...]
    keys: tuple[str, ...]
    args: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Header":
        """Read the header of a file. A name stands three spaces after the dashes; deeper lines go on with its text."""
        found: dict[str, list[str]] = {"LIB": [], "KEYS": [], "ARGV": []}
        section = ""
        for line in text.splitlines():
            if not line.startswith("--"):
                break
            title, _, names = line.removeprefix("-- ").partition(" ")
            if title in found:
                section = title
                found[section] += _names(names)
            elif section and (entry := re.match(r"--   ([^\s,]+(?:, [^\s,]+)*)", line)):
                found[section] += _names(entry[1])
            else:
                section = section if line.startswith("--    ") else ""
        return cls(*(tuple(names) for names in found.values()))


class Script:
    """One script; called with a value for each name in its header, it gives the command that runs it."""

    def __init__(self, name: str, text: str, header: Header) -> None:
        self._name = name
        self._keys, self._rest_of_keys = _split(header.keys)
        self._args, self._rest_of_args = _split(header.args)
        names = [each.removesuffix(_REST) for each in (*header.keys, *header.args)]
        self._names = frozenset(names)
        if len(self._names) != len(names):
            raise ValueError(f"{name}.lua gives one name to two of its keys and arguments")
        self.text = text

    def __call__(self, **values: Any) -> Command:
        """The command with *values*, one for each name: text or a number, or many of these for a name with dots.

        Raises:
            TypeError: if a name of the header has no value, or a value no name.
        """
        if values.keys() != self._names:
            wrong = ", ".join(sorted(values.keys() ^ self._names))
            raise TypeError(f"{self._name}.lua and its call do not have the same keys and arguments: {wrong}")
        keys = [values[name] for name in self._keys]
        if self._rest_of_keys:
            keys += values[self._rest_of_keys]
        command = ["EVAL", self.text, len(keys), *keys, *(values[name] for name in self._args)]
        if self._rest_of_args:
            command += values[self._rest_of_args]
        return tuple(command)


def load(name: str, *, folder: Path = LUA) -> Script:
    """The script of *folder*`/<name>.lua`, joined with the files of `lib` that it uses, there or in the store's.

    Raises:
        ValueError: if its header lacks a key or an argument that one of these needs.
    """
    text = (folder / f"{name}.lua").read_text("utf-8")
    header = Header.parse(text)
    libs = _libs(header.libs, folder)
    for lib, (needs, _) in libs.items():
        if missing := {*needs.keys, *needs.args} - {*header.keys, *header.args}:
            raise ValueError(f"{name}.lua uses lib/{lib}.lua, but does not name {', '.join(sorted(missing))}")
    parts = (_locals("KEYS", header.keys), _locals("ARGV", header.args), *(code for _, code in libs.values()))
    return Script(name, "\n".join([*filter(None, parts), _code(text)]), header)


def by_hash(command: Command) -> Command:
    """*command*, with the hash of its script in place of the text; unchanged if it runs no script.

    Redis keeps the texts that it has run, and forgets them when it restarts or another server takes its place. Then it
    replies NOSCRIPT, and the sender sends the command with the text
    (https://redis.io/docs/latest/develop/programmability/eval-intro/#script-cache).
    """
    if command[0] != "EVAL":
        return command
    return ("EVALSHA", _hash(str(command[1])), *command[2:])


@cache  # our scripts are constants, some thirty of them
def _hash(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _libs(names: Iterable[str], folder: Path) -> dict[str, tuple[Header, str]]:
    """Header and code of each file of `lib` in *names*, those first that others need."""
    found: dict[str, tuple[Header, str]] = {}
    for name in names:
        own = folder / "lib" / f"{name}.lua"
        text = (own if own.is_file() else LUA / "lib" / f"{name}.lua").read_text("utf-8")
        header = Header.parse(text)
        found = {**found, **_libs(header.libs, folder), name: (header, _code(text))}
    return found


def _code(text: str) -> str:
    """*text* without the comments and empty lines, which Redis would hash and keep."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--"))


def _locals(array: str, names: tuple[str, ...]) -> str:
    """The Lua that gives names to the values of *array*."""
    single, rest = _split(names)
    lines: list[str] = []
    if single:
        values = ", ".join(f"{array}[{number}]" for number, _ in enumerate(single, 1))
        lines.append(f"local {', '.join(single)} = {values}")
    if rest:
        first = len(single) + 1
        lines.append(f"local {rest} = {{}} for i = {first}, #{array} do {rest}[i - {len(single)}] = {array}[i] end")
    return "\n".join(lines)


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _split(names: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Names of single values, and that of the rest, or empty."""
    if names and names[-1].endswith(_REST):
        return names[:-1], names[-1].removesuffix(_REST)
    return names, ""
