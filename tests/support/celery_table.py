"""Celery's command line and remote control, each with what it does to a worker of this package.

The tests type each line of these tables, and docs/celery.md is made from them.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

_OWN: Final = "own.add"
_APP: Final = ("-A", "imagefleet_worker.app")


class Option(NamedTuple):
    """An option of `celery worker`."""

    #: What the tests type; nothing for options of daemons that only root can use.
    typed: tuple[str, ...]
    #: What it does; empty if it is refused: the code has the sentence.
    does: str = ""
    #: Whether a test types it for the daemon that has all such options.
    is_daemons: bool = True


class Line(NamedTuple):
    """An option of `celery`, or one of its programs."""

    #: What the tests type; nothing if another test does.
    typed: tuple[str, ...]
    #: A part of what it shows.
    shows: str
    does: str = "as in Celery"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `celery control` or `celery inspect`."""

    #: A part of the reply.
    reply: str
    does: str = "as in Celery"
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


#: By Celery's names for them.
OPTIONS: Final[dict[str, Option]] = {
    "hostname": Option(("-n", "hooks@%h"), "as in Celery; results and `imagefleet workers` show it", is_daemons=False),
    "queues": Option(
        ("-Q", "imagefleet.webhooks,own"),
        "the queue of the worker's model, `imagefleet.webhooks`, or both; with `-I` also queues of your own. "
        "A worker that consumes the queue of its model loads the model. Any other queue is refused",
    ),
    "exclude_queues": Option(
        ("-X", "imagefleet.default"), "as in Celery; refused if no queue is left", is_daemons=False
    ),
    "include": Option(("-I", "tests.support.celery_tasks"), "modules with tasks of your own, which run beside ours"),
    "concurrency": Option(
        ("-c", "3"), "the most jobs held at once, those that upload included; wins over `IMAGEFLEET_WORKER_CONCURRENCY`"
    ),
    "pool": Option(
        ("-P", "prefork"),
        "`threads`, which is the default, or `solo`: one job at a time, and `inspect` waits for it. Any other is "
        "refused: one process owns the device and holds the leases of its jobs",
        is_daemons=False,
    ),
    "autoscale": Option(("--autoscale", "10,1")),
    "prefetch_multiplier": Option(("--prefetch-multiplier=2",), "as in Celery: holds that many times `-c` messages"),
    "disable_prefetch": Option(
        ("--disable-prefetch",), "holds no message that no thread runs, which is the default here", is_daemons=False
    ),
    "time_limit": Option(
        ("--time-limit", "3"),
        "how long an attempt at a job may take if its message does not say so: it ends within a step, as `timed_out`. "
        "Refused beside `-I` and for a sender of webhooks, because only jobs keep a limit",
        is_daemons=False,
    ),
    "soft_time_limit": Option(
        ("--soft-time-limit", "2"), "the same; of the two the shorter one counts", is_daemons=False
    ),
    "max_tasks_per_child": Option(("--max-tasks-per-child", "2")),
    "max_memory_per_child": Option(("--max-memory-per-child", "9")),
    "pool_start_method": Option(("--pool-start-method", "spawn")),
    "optimization": Option(
        ("-O", "fair"), "accepted; it is for child processes, and a worker claims what it can run anyway"
    ),
    "loglevel": Option(
        ("-l", "DEBUG"),
        "wins over `IMAGEFLEET_WORKER_LOG_LEVEL`. Celery's two lines for each task are written with `DEBUG` only, "
        "because they repeat results",
    ),
    "logfile": Option(("--logfile=%n.log",), "as in Celery; lines look as `IMAGEFLEET_WORKER_LOG_FORMAT` says"),
    "pidfile": Option(("--pidfile=%n.pid",), "as in Celery; it is there when the model is loaded"),
    "detach": Option(
        ("-D",), "as in Celery; with `--logfile`, because that is where a refusal is said", is_daemons=False
    ),
    "uid": Option((), "as in Celery", is_daemons=False),
    "gid": Option((), "as in Celery", is_daemons=False),
    "umask": Option((), "as in Celery", is_daemons=False),
    "executable": Option((), "as in Celery", is_daemons=False),
    "statedb": Option(("-S", "state"), "as in Celery; cancels need none, because they are in the records of jobs"),
    "task_events": Option(("-E",), "as in Celery"),
    "without_gossip": Option(("--without-gossip",), "as in Celery; nothing here needs gossip"),
    "without_mingle": Option(("--without-mingle",), "as in Celery; nothing here needs mingle"),
    "without_heartbeat": Option(
        ("--without-heartbeat",), "as in Celery; nothing here needs Celery's heartbeat", is_daemons=False
    ),
    "heartbeat_interval": Option(("--heartbeat-interval=2",), "as in Celery"),
    "beat": Option(("-B",), "as in Celery; its schedule is that of a module in `-I`"),
    "schedule_filename": Option(("-s", "beat"), "as in Celery"),
    "scheduler": Option(("--scheduler=celery.beat:PersistentScheduler",), "as in Celery"),
    "purge": Option(("--purge",), "as `celery purge`, before the worker claims anything"),
}

#: Options before `worker`.
GLOBAL_OPTIONS: Final[dict[str, Line]] = {
    "app": Line((*_APP, "report"), "imagefleet_worker.tasks", "`imagefleet_worker.app`"),
    "broker": Line(
        ("-b", "{url}", *_APP, "status"),
        "1 node online",
        "for a worker refused unless it is the broker of `IMAGEFLEET_REDIS_URL`, where leases are kept; so is "
        "`CELERY_BROKER_URL`",
    ),
    "result_backend": Line(
        (),
        "",
        "as in Celery: results of `get` are kept there, records of jobs in Redis",
    ),
    "loader": Line((), ""),
    "config": Line(
        (),
        "",
        "as in Celery, for settings that `imagefleet_worker.app` leaves open; those of `IMAGEFLEET_*` win",
    ),
    "workdir": Line(("--workdir", "{folder}", *_APP, "logtool", "stats", "tasks.log"), "Task total"),
    "no_color": Line(("-C", *_APP, "status"), "1 node online", "as in Celery; our lines have no colors"),
    "quiet": Line(("-q", *_APP, "status"), "1 node online"),
    "version": Line(("--version",), "5.7"),
    "skip_checks": Line(("--skip-checks", *_APP, "status"), "1 node online", "as in Celery: it is for Django"),
}

#: Commands in the order in which the tests send them.
CONTROL: Final[dict[str, Command]] = {
    "add_consumer": Command(
        "loaded no model",
        "as `-Q`, and refused in the same way; a worker without a model takes no jobs",
        {"queue": "imagefleet.default"},
    ),
    "cancel_consumer": Command(
        "no longer consuming", "as in Celery; `imagefleet queues` and `imagefleet workers` follow", {"queue": "nobody"}
    ),
    "pool_grow": Command(
        "the pool has 4 threads", "more threads, and as many jobs more are held; not with `-P solo`", {"n": 1}
    ),
    "pool_shrink": Command("the pool has 3 threads", "fewer; running jobs go on, and one thread stays", {"n": 1}),
    "pool_restart": Command("threads cannot be restarted", "refused: threads cannot be restarted"),
    "autoscale": Command("pool_grow and pool_shrink", "refused: no pool is scaled here", {"max": 3, "min": 1}),
    "rate_limit": Command(
        "new rate limit set",
        "as in Celery, for each worker by itself; the new rate is also that of messages that wait for the old one, and "
        "these go back to their list when the worker ends or loses its connection",
        {"task_name": _OWN, "rate_limit": "100/s"},
    ),
    "time_limit": Command(
        "only imagefleet.generate keeps a limit",
        "sets how long an attempt at a job may take, for `imagefleet.generate`; refused for other tasks, because no "
        "thread can be ended from outside",
        {"task_name": _OWN, "hard": 3},
    ),
    "revoke": Command(
        "nobody",
        "cancels the job, queued or running, whichever workers live: [scheduling.md](scheduling.md). `terminate` makes "
        "no difference; for a running task of your own it is refused, because threads cannot be killed",
        {"task_id": ["nobody"]},
    ),
    "terminate": Command("tasks unknown", "as `revoke`", {"signal": "TERM", "task_id": ["nobody"]}),
    "revoke_by_stamped_headers": Command(
        "flagged as revoked",
        "as in Celery; with `terminate` a running job stops at its next step",
        {"headers": ["k=v"]},
    ),
    "enable_events": Command("task events"),
    "disable_events": Command("task events"),
    "heartbeat": Command("None"),
    "election": Command("Gossip", "as in Celery, for workers that gossip", {"id": "1", "topic": "t"}),
    "shutdown": Command(
        "draining", "replies, then drains as SIGTERM does: running jobs have `IMAGEFLEET_WORKER_DRAIN_S`"
    ),
}

INSPECT: Final[dict[str, Command]] = {
    "active": Command("own.hold", "as in Celery: jobs that have a thread, those that wait for the device included"),
    "active_queues": Command("imagefleet.webhooks"),
    "clock": Command("clock"),
    "conf": Command("task_acks_late", "as in Celery; passwords are hidden"),
    "memdump": Command(""),
    "memsample": Command(""),
    "objgraph": Command("objgraph", "as in Celery, if the package `objgraph` is installed"),
    "ping": Command("pong"),
    "query_task": Command("{}", "as in Celery", {"ids": ["nobody"]}),
    "registered": Command(_OWN),
    "report": Command("software"),
    "reserved": Command("[]", "as in Celery: messages that wait for a thread"),
    "revoked": Command("[", "ids that this worker remembers; cancels are in the records of jobs"),
    "scheduled": Command(
        "[]", "nothing: messages with an `eta` wait in Redis, and `imagefleet queues` shows them as delayed"
    ),
    "stats": Command("ThreadPool"),
}

#: The programs of `celery`.
PROGRAMS: Final[dict[str, Line]] = {
    "worker": Line((), "", "the first table"),
    "multi": Line(
        (),
        "",
        "as in Celery: workers as daemons; `imagefleet-worker --devices all` gives each a device and watches them",
    ),
    "inspect": Line((*_APP, "inspect", "ping"), "pong", "the table below"),
    "control": Line((*_APP, "control", "heartbeat"), "OK", "the table below"),
    "status": Line((*_APP, "status"), "1 node online"),
    "call": Line(
        (*_APP, "call", _OWN, "--args", "[1, 2]", "--queue", "own"),
        "-4",  # of a UUID
        "as in Celery: `celery call imagefleet.generate --kwargs ... --queue imagefleet.default`",
    ),
    "result": Line(
        (*_APP, "result", "{result}"),
        "42",
        "as in Celery, for jobs that a Celery app sent; `imagefleet status` knows all",
    ),
    "beat": Line(
        ("-A", "tests.support.celery_tasks", "beat", "-s", "{folder}/beat-alone", "--pidfile=", "-l", "INFO"),
        "own.tick",
        "as in Celery, with a schedule of your own",
    ),
    "events": Line((*_APP, "events", "--dump"), "own.tick", "as in Celery, from workers with `-E`"),
    "flower": Line((), "", "as in Celery: [watching.md](watching.md#flower-and-celerys-own-tools)"),
    "report": Line((*_APP, "report"), "task_acks_late: True"),
    "graph": Line((*_APP, "graph", "bootsteps"), "digraph"),
    "logtool": Line(
        (*_APP, "logtool", "stats", "{folder}/tasks.log"),
        "Task total",
        "as in Celery, for Celery's own format of lines",
    ),
    "shell": Line((*_APP, "shell", "--python"), "InteractiveConsole"),
    "upgrade": Line(
        (*_APP, "upgrade", "settings", "{folder}/old_settings.py"), "Changes", "as in Celery: it is for old settings"
    ),
    "list": Line(
        (*_APP, "list", "bindings"),
        "imagefleet.default",
        "as in Celery: it shows the queue of this app's own model; `imagefleet queues` shows those of the fleet",
    ),
    "amqp": Line(
        (*_APP, "amqp", "basic.get", "nothing"),
        "No messages in queue",
        "stock kombu: `basic.get` pops a message without a claim; `imagefleet queues` takes nothing",
    ),
    "migrate": Line(
        (),
        "",
        "stock kombu: it knows neither urgent lists, nor tenants, nor leases; let a fleet drain instead",
    ),
    "purge": Line((), "", "empties all of a queue and cancels its jobs, as said above"),
}
