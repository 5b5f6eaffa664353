"""A whole fleet on real parts: Redis, S3, image workers with a tiny Stable Diffusion, a sender of webhooks."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis as redis_py
from tests.support.fleet.processes import start_worker, wait_until_ready
from tests.support.models.tiny_pipelines import build
from tests.support.servers.redis import RedisServer
from tests.support.servers.s3 import S3, s3_server

from imagefleet import Client
from imagefleet_worker.supervision.child_process import ChildProcess

#: A receiver on this machine is a private address, which workers refuse unless told.
LOOPBACK = {"IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.1"}
#: The options of a worker that sends webhooks.
SENDER = ("-Q", "imagefleet.webhooks", "-c", "4")
SECRET = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="  # of these tests


@dataclass
class Fleet:
    """What runs, and how to run more of it."""

    folder: Path
    redis: RedisServer
    s3: S3
    model: Path
    env: dict[str, str] = field(default_factory=dict)
    #: As `start_worker`.
    is_forked: bool = True
    _workers: list[ChildProcess] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        """Where workers and clients find Redis: at a server of this fleet, if its variables name no other."""
        return self.env.get("IMAGEFLEET_REDIS_URL", self.redis.url)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of a worker of this fleet."""
        own = {
            "IMAGEFLEET_REDIS_URL": self.redis_url,
            "IMAGEFLEET_MODEL_SOURCE": str(self.model),
            "IMAGEFLEET_MODEL_DEFAULT_STEPS": "2",
            "IMAGEFLEET_MODEL_DEFAULT_SIZE": "64x64",
            "IMAGEFLEET_ENGINE_THREADS": "1",
            "IMAGEFLEET_ENGINE_PREVIEW_INTERVAL_S": "0.1",
            "IMAGEFLEET_WEBHOOK_SECRETS": SECRET,
            "IMAGEFLEET_WEBHOOK_RETRY_BASE_S": "0.2",
            "IMAGEFLEET_WEBHOOK_PROGRESS_INTERVAL_S": "0.3",
            "IMAGEFLEET_LEASE_DURATION_S": "2",
        }
        return {**own, **LOOPBACK, **self.s3.env, **self.env, **(extra or {})}

    def start(
        self,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        app: str = "imagefleet_worker.app",
    ) -> ChildProcess:
        """Start a worker and do not wait until it is ready."""
        child = start_worker(
            self.environment(env), self.folder, name=name, options=options, app=app, is_forked=self.is_forked
        )
        self._workers.append(child)
        return child

    def worker(self, name: str = "worker", *, env: Mapping[str, str] | None = None) -> ChildProcess:
        """Start an image worker and wait until it takes jobs."""
        child = self.start(name, env=env)
        wait_until_ready(child)
        return child

    def sender(self, name: str = "webhooks") -> ChildProcess:
        """Start a sender of webhooks and wait until it takes deliveries."""
        child = self.start(name, options=SENDER)
        wait_until_ready(child)
        return child

    def client(self) -> Client:
        """A client of this fleet."""
        return Client(self.redis_url)

    def raw(self) -> "redis_py.Redis":
        """A plain client of its Redis."""
        return redis_py.Redis.from_url(self.redis_url, decode_responses=True)

    def close(self) -> None:
        """End every worker that was started here at once: how one drains is for the tests to say."""
        for child in self._workers:
            child.kill()


@contextmanager
def running_fleet(
    folder: Path,
    *,
    append_only: bool = False,
    env: Mapping[str, str] | None = None,
    family: str = "sd",
    model: Path | None = None,
    is_forked: bool = True,
) -> Iterator[Fleet]:
    """A fleet without workers yet, for the pipeline in the folder *model* or a tiny one of *family*.

    Its workers start as `start_worker` says; benchmarks start whole programs, as users do.
    """
    with ExitStack() as stack:
        for name in ("redis", "s3"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(RedisServer(folder / "redis", append_only=append_only))
        s3 = stack.enter_context(s3_server(folder / "s3"))
        pipeline = model or build(family, folder / "model")
        fleet = Fleet(folder=folder, redis=server, s3=s3, model=pipeline, env=dict(env or {}), is_forked=is_forked)
        stack.callback(fleet.close)
        yield fleet
