"""Jobs that share their forwards draw what each of them asked for, as the pixels show."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.models.scene_checker import MODEL, SCENES, prompt_for, read

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching import collation
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

COUNT = 8


@pytest.fixture(scope="module", params=["merge", "reproducible"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The demo's model."""
    settings = EngineSettings.model_validate({"mode": request.param, "threads": 1})
    engine = Engine.load(ModelSettings(source=str(MODEL)), settings)
    engine.warm_up()
    yield engine
    engine.close()


def right(engine: Engine) -> int:
    """The number of pictures that show what was asked for, of `COUNT`."""
    jobs = [
        engine.check(GenerationJob(prompt=prompt_for(scene), steps=12, width=64, height=64, seed=number))
        for number, scene in enumerate(SCENES[:COUNT])
    ]
    pictures = [images[0] for images in engine.render_together(jobs)]
    return sum(read(picture) == scene for picture, scene in zip(pictures, SCENES, strict=False))


def test_each_of_the_joined_jobs_draws_its_own_scene(engine: Engine) -> None:
    before = engine.stats()
    assert right(engine) == COUNT
    after = engine.stats()
    assert after["forwards"] - before["forwards"] < after["calls"] - before["calls"], "nothing was joined"


def test_outputs_that_go_to_the_wrong_jobs_are_seen(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    split = collation.split_output

    def mix_up(output: Any, counts: Any) -> Any:
        parts = split(output, counts)
        return parts[::-1] if len(set(counts)) == 1 else parts  # padding stays in its place

    monkeypatch.setattr(collation, "split_output", mix_up)
    assert right(engine) <= COUNT // 2
