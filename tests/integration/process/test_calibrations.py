"""What a warm-up found is kept in Redis, and the second worker of a kind starts without measuring."""

from collections.abc import Iterator

import pytest
import redis
from tests.support.models.engines import Engines

from imagefleet.store.keys import Keys
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.process.calibrations import RedisCalibrations
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def warmed_up(engines: Engines, records: RedisCalibrations, *, mode: str = "merge", **settings: object) -> Engine:
    model = ModelSettings(source=str(engines.source("sd")), default_size="64x64")
    engine = Engine.load(model, EngineSettings.model_validate({"mode": mode, "threads": 1, **settings}))
    engine.warm_up(records)
    engine.close()
    return engine


def test_the_second_worker_of_a_kind_makes_only_the_first_images(engines: Engines, client: "redis.Redis") -> None:
    records = RedisCalibrations(client, keys=Keys())
    first = warmed_up(engines, records, max_pixels="measure", max_rows=4)
    second = warmed_up(engines, records, max_pixels="measure", max_rows=4)
    assert second.stats()["calls"] == 4, "it made more than two images of two steps"
    assert first.stats()["calls"] > 20
    assert second.calibration == first.calibration
    assert second.calibration.joining.is_proved
    assert second.shared.budget.max_pixels == first.shared.budget.max_pixels
    assert second.shared.admission.limit == first.shared.admission.limit > 1
    (key,) = client.keys("imagefleet:calibration:*")
    assert 0 < client.ttl(key) <= 30 * 24 * 3600


@pytest.mark.parametrize("change", [{"mode": "reproducible"}, {"max_rows": 8}])
def test_another_kind_is_measured_again(engines: Engines, client: "redis.Redis", change: dict[str, object]) -> None:
    records = RedisCalibrations(client, keys=Keys())
    warmed_up(engines, records)
    assert warmed_up(engines, records, **change).stats()["calls"] > 20
    assert len(client.keys("imagefleet:calibration:*")) == 2


def test_a_refusal_is_remembered(engines: Engines, client: "redis.Redis") -> None:
    records = RedisCalibrations(client, keys=Keys())
    first = warmed_up(engines, records)
    (key,) = client.keys("imagefleet:calibration:*")
    refusal = first.calibration.joining.model_copy(update={"is_proved": False, "reason": "a test says so"})
    client.set(key, first.calibration.model_copy(update={"joining": refusal}).model_dump_json())
    second = warmed_up(engines, records)
    assert second.shared.admission.limit == 1
    assert second.stats()["joining_refused"] == 1


def test_an_unreadable_record_or_a_redis_that_is_away_costs_a_measurement_and_nothing_else(
    engines: Engines, client: "redis.Redis"
) -> None:
    records = RedisCalibrations(client, keys=Keys())
    warmed_up(engines, records)
    (key,) = client.keys("imagefleet:calibration:*")
    client.set(key, "{not json")
    assert warmed_up(engines, records).stats()["calls"] > 20
    away = RedisCalibrations(redis.Redis(port=1, socket_timeout=0.1), keys=Keys())
    assert warmed_up(engines, away).calibration.joining.is_proved
