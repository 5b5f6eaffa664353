"""The Lua files of both packages, on a real server."""

from pathlib import Path

import pytest
import redis

from imagefleet.store import scripts
from imagefleet_worker.queue import claims

FILES = [*scripts.LUA.glob("*.lua"), *claims.LUA.glob("*.lua")]


@pytest.mark.redis_server
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_script_is_lua_that_redis_can_run(redis_url: str, file: Path) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.script_load(scripts.load(file.stem, folder=file.parent).text)
