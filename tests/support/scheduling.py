"""Which tests one process of pytest-xdist runs one after the other."""

from pathlib import PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class RoomScheduling(LoadScopeScheduling):
    """A file's tests stay together; so do the files of a room whose conftest.py starts servers for all of them."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        root = config.rootpath / "tests" / "integration"
        self._shared = {each.parent.relative_to(config.rootpath) for each in root.glob("*/conftest.py")}

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        return str(file.parent if file.parent in self._shared else file)
