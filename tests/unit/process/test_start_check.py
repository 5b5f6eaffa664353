"""What a worker refuses to be, each with a sentence that says what to type instead."""

import pytest

from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.process.start_check import NO_LIMITS, CeleryStart, ServedQueues, TimeLimits, check_start

URL = "redis://127.0.0.1/0"
OWN = "imagefleet.default"


def check(
    *queues: str,
    pool: str = "threads",
    url: str = URL,
    options: frozenset[str] = frozenset(),
    own_tasks: bool = False,
    limits: TimeLimits = NO_LIMITS,
) -> None:
    served = ServedQueues("default", has_own_tasks=own_tasks)
    check_start(CeleryStart(pool, queues or (OWN,), url, options, limits), served=served, broker_url=URL)


@pytest.mark.parametrize("pool", ["threads", "solo"])
@pytest.mark.parametrize("queues", [(OWN,), ("imagefleet.webhooks",), (OWN, "imagefleet.webhooks")])
def test_the_queues_of_the_model_and_of_webhooks_are_served(pool: str, queues: tuple[str, ...]) -> None:
    check(*queues, pool=pool)


def test_queues_of_tasks_that_somebody_added_are_served() -> None:
    check("own", own_tasks=True)
    with pytest.raises(SettingsInvalid, match="-I with a module of tasks"):
        check("own")


@pytest.mark.parametrize("own_tasks", [False, True])
def test_a_queue_of_another_model_is_never_served(*, own_tasks: bool) -> None:
    """Nor is one that is spelt wrong."""
    with pytest.raises(SettingsInvalid, match=r"type -Q imagefleet\.default, or set IMAGEFLEET_MODEL_ALIAS=defualt"):
        check("imagefleet.defualt", own_tasks=own_tasks)


@pytest.mark.parametrize("pool", ["prefork", "gevent", "eventlet", "custom"])
def test_only_threads_and_solo_are_pools(pool: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"-P {pool}: .* leave -P out"):
        check(pool=pool)


def test_another_broker_than_that_of_the_settings_is_refused_without_its_password() -> None:
    """Celery would listen at one Redis, and the leases claim from another."""
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_REDIS_URL") as caught:
        check(url="redis://:secret@elsewhere/0")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("limits", [TimeLimits(hard=60), TimeLimits(soft=0.5), TimeLimits(60, 30)])
def test_the_time_limits_of_a_worker_are_kept_by_jobs_alone(limits: TimeLimits) -> None:
    check(OWN, limits=limits)
    check(OWN, WEBHOOK_QUEUE, limits=limits)
    with pytest.raises(SettingsInvalid, match=r"time-limit: .* makes no images: leave it out"):
        check(WEBHOOK_QUEUE, limits=limits)
    with pytest.raises(SettingsInvalid, match=r"time-limit: .* start a worker for those tasks beside this one"):
        check(OWN, "own", own_tasks=True, limits=limits)


@pytest.mark.parametrize("limit", [-1, float("inf"), float("nan")])
def test_a_time_limit_is_a_number_of_seconds(limit: float) -> None:
    for limits, option in ((TimeLimits(hard=limit), "--time-limit"), (TimeLimits(soft=limit), "--soft-time-limit")):
        with pytest.raises(SettingsInvalid, match=f"^{option} .* type one above 0"):
            check(limits=limits)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        check("imagefleet.a", "imagefleet.b", pool="prefork", options=frozenset({"autoscale", "max_tasks_per_child"}))
    for part in ("-P prefork", "--autoscale", "--max-tasks-per-child", "-Q imagefleet.a", "-Q imagefleet.b"):
        assert part in caught.value.message
