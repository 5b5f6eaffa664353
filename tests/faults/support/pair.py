"""Two workers to break, behind a proxy to Redis and one to S3, with a device slow enough to be met in the middle."""

import json
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.servers.flaky_s3_proxy import FlakyS3
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

from imagefleet import Client, JobResult
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store.keys import Keys
from imagefleet.webhooks import Event
from imagefleet_worker.supervision.child_process import ChildProcess

LEASE_S = 2
DRAIN_S = 2
DEVICE_TIMEOUT_S = 8
#: The issue's bound of a redelivery.
REDELIVERED_WITHIN_S = LEASE_S + 5
FORWARD_S = 0.02
KEYS = Keys()
JOB: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 64, "height": 64}
#: Sent by nobody: they lie on their list to be counted.
WEBHOOK = {"url": "http://127.0.0.1:9999/nobody-sends-this"}


@dataclass
class Pair:
    """A fleet with two workers: one that a test breaks, and one that is to go on with its work."""

    fleet: Fleet
    proxy: TcpProxy
    s3: FlakyS3
    client: Client
    hang_file: Path
    _ready: list[ChildProcess] = field(default_factory=list)
    _born: int = 0

    def start(self, *, env: Mapping[str, str] | None = None) -> ChildProcess:
        """Start one more worker and do not wait; its name is new."""
        self._born += 1
        ours = {
            "IMAGEFLEET_REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0",
            "IMAGEFLEET_REDIS_SOCKET_TIMEOUT_S": "2",
            "IMAGEFLEET_STORAGE_ENDPOINT_URL": self.s3.url,
            "IMAGEFLEET_STORAGE_ATTEMPTS": "2",
            "IMAGEFLEET_STORAGE_TIMEOUT_S": "5",
            "IMAGEFLEET_STORAGE_SPOOL_FOLDER": str(self.spool),
            "IMAGEFLEET_LEASE_DURATION_S": str(LEASE_S),
            "IMAGEFLEET_LEASE_MAX_DELIVERIES": "2",
            "IMAGEFLEET_WORKER_DRAIN_S": str(DRAIN_S),
            "IMAGEFLEET_WORKER_RETRY_BASE_S": "0.5",
            "IMAGEFLEET_ENGINE_JOB_TIMEOUT_S": str(DEVICE_TIMEOUT_S),
            "FAULTS_FORWARD_S": str(FORWARD_S),
            "FAULTS_HANG_FILE": str(self.hang_file),
        }
        options = ("-I", "tests.support.devices.slow_device")
        return self.fleet.start(f"w{self._born}", env={**ours, **(env or {})}, options=options)

    @property
    def spool(self) -> Path:
        """Where the images of both workers wait while S3 is away."""
        return self.hang_file.with_name("spool")

    def spooled(self, job_id: str) -> list[Path]:
        """The folders of a job in the spool."""
        return list(self.spool.glob(f"{job_id}~*"))

    def renders_repeated(self, job_id: str) -> int:
        """How often a job was rendered again although its images were made."""
        with self.fleet.raw() as raw:
            return int(raw.hget(KEYS.job(job_id), "renders_repeated") or 0)  # type: ignore[arg-type]  # not awaited

    def renew(self) -> None:
        """See to it that two workers are up or about to be."""
        self._ready = [child for child in self._ready if child.is_running]
        while len(self._ready) < 2:
            self._ready.append(self.start())

    def workers(self) -> tuple[ChildProcess, ChildProcess]:
        """Two workers that take jobs."""
        self.renew()
        for child in self._ready:
            wait_until_ready(child)
        return self._ready[0], self._ready[1]

    def begin(self, worker: ChildProcess, *, steps: int = 100, **fields: Any) -> str:
        """Submit a job (100 steps: more than two seconds) and wait until *worker* is in the middle of it."""
        job_id = self.client.submit(JOB, steps=steps, webhook=WEBHOOK, **fields)
        self.wait_for_progress(job_id, worker)
        return job_id

    def wait_for_progress(self, job_id: str, worker: ChildProcess) -> None:
        """Wait until *worker* is in the middle of the job."""

        def is_made() -> bool:
            """The worker is in the middle of the job."""
            return self.client.get(job_id).progress is not None and self.holder(job_id) == worker.name

        wait_until(is_made, 30)

    def holder(self, job_id: str) -> str:
        """The name of the worker that took the job last."""
        return str(self.client.get(job_id).worker).split("@")[0]

    def wait_for_holder(self, job_id: str, worker: ChildProcess, timeout_s: float = 30) -> float:
        """Wait until *worker* makes the job; gives the seconds that took."""
        start = time.monotonic()
        wait_until(lambda: self.holder(job_id) == worker.name, timeout_s)
        return time.monotonic() - start

    def the_one_result(self, job_id: str, timeout_s: float = 60) -> JobResult:
        """The result of a job that succeeded, once it is certain that there is one of everything."""
        result = self.client.result(job_id, timeout_s=timeout_s).raise_for_status()
        wait_until(lambda: not self.claimed(job_id), 10)
        stored = json.loads(self.object(f"images/{job_id}/result.json")["Body"].read())
        named = {artifact["uri"].split(f"{self.fleet.s3.bucket}/")[1] for artifact in stored["artifacts"]}
        assert [artifact["sha256"] for artifact in stored["artifacts"]] == [a.sha256 for a in result.artifacts]
        assert {f"images/{job_id}/result.json"} | named == set(self.keys(job_id))
        assert self.webhooks(result) == 1
        return result

    def object(self, key: str) -> dict[str, Any]:
        """An object of the bucket, past the proxy."""
        return self.fleet.s3.client.get_object(Bucket=self.fleet.s3.bucket, Key=key)

    def keys(self, job_id: str) -> list[str]:
        """The keys of a job's objects."""
        s3 = self.fleet.s3
        found = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=f"images/{job_id}/")
        return [each["Key"] for each in found.get("Contents", [])]

    def webhooks(self, result: JobResult) -> int:
        """How many messages wait to announce *result*."""
        with self.fleet.raw() as raw:
            messages: Any = raw.lrange(KEYS.list_for(WEBHOOK_QUEUE, 5), 0, -1)
        return sum(json.loads(message)["headers"]["id"] == Event.for_result(result).id for message in messages)

    def claimed(self, job_id: str) -> list[str]:
        """The messages of a job that are in some worker's hands."""
        with self.fleet.raw() as raw:
            claims: Any = raw.hvals(KEYS.claims)
        return [message for message in claims if json.loads(message)["headers"]["id"] == job_id]


@contextmanager
def stopped(worker: ChildProcess) -> Generator[None]:
    """Let *worker* do nothing at all while the block runs."""
    worker.send(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send(signal.SIGCONT)


@contextmanager
def running_pair(folder: Path) -> Generator[Pair]:
    """A fleet with its proxies; the two workers start when they are asked for."""
    with ExitStack() as stack:
        fleet = stack.enter_context(running_fleet(folder, append_only=True))
        proxy = TcpProxy(fleet.redis.port)
        stack.callback(proxy.close)
        s3 = FlakyS3(fleet.s3.endpoint_url)
        stack.callback(s3.close)
        client = stack.enter_context(fleet.client())
        yield Pair(fleet, proxy, s3, client, folder / "hang")
        fleet.close()
