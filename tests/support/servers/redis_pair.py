"""Two real Redis servers, a primary and its replica, behind one address that does not change."""

from pathlib import Path
from typing import Any, Self

import redis
from tests.support.servers.redis import RedisServer
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until


class RedisPair:
    """A primary that fails over as a managed Redis does: old connections stay open, and lead to a replica then."""

    def __init__(self, folder: Path, *, append_only: bool = False) -> None:
        for name in ("one", "two"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._primary = RedisServer(folder / "one", append_only=append_only)
        self._replica = RedisServer(folder / "two", append_only=append_only)

    @property
    def url(self) -> str:
        """Where clients find the primary, whichever server that is."""
        return f"redis://127.0.0.1:{self._proxy.port}/0"

    @property
    def primary(self) -> RedisServer:
        """The server that is the primary now."""
        return self._primary

    def crash(self) -> None:
        """Kill the primary and start it again, with what it has on disk."""
        self._primary.kill()
        self._primary.start()
        with _raw(self._primary) as client:
            client.config_set("repl-diskless-sync-delay", "0")

    def cut_clients(self) -> None:
        """Let the primary close the connections of all its clients."""
        with _raw(self._primary) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def fail_over(self) -> None:
        """Promote the replica, make the primary its replica, and lead new connections there. No write is lost."""
        with _raw(self._primary) as old, _raw(self._replica) as new:
            _wait_until_linked(self._primary, new)
            old.execute_command("FAILOVER", "TO", "127.0.0.1", str(self._replica.port))
            wait_until(lambda: _role(new) == "master" and _role(old) == "slave", 20)
        self._primary, self._replica = self._replica, self._primary
        self._proxy.redirect(self._primary.port)

    def isolate_replica(self) -> None:
        """Let the replica follow nobody: what it stores is old from now on, and it refuses writes."""
        with _raw(self._replica) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")  # nobody listens there

    def follow_again(self) -> None:
        """End what `isolate_replica` began, and return when the replica has all data."""
        with _raw(self._replica) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(self._primary.port))
            _wait_until_linked(self._primary, client)

    def __enter__(self) -> Self:
        self._primary.start()
        self._replica.start()
        with _raw(self._primary) as old, _raw(self._replica) as new:
            for each in (old, new):
                each.config_set("repl-diskless-sync-delay", "0")
            new.execute_command("REPLICAOF", "127.0.0.1", str(self._primary.port))
            _wait_until_linked(self._primary, new)
        self._proxy = TcpProxy(self._primary.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.close()
        self._replica.kill()
        self._primary.kill()


def _raw(server: RedisServer) -> Any:
    return redis.Redis.from_url(server.url, decode_responses=True)


def _wait_until_linked(primary: RedisServer, replica: Any) -> None:
    """Return when both ends call the link ready: the replica does so up to a second before the primary."""
    wait_until(lambda: replica.info("replication").get("master_link_status") == "up", 20)
    with _raw(primary) as client:
        wait_until(lambda: client.info("replication").get("slave0", {}).get("state") == "online", 20)


def _role(client: Any) -> str:
    return str(client.info("replication")["role"])
