"""The rows of a forward are as many as the device is worth, fewer for larger images."""

from collections import defaultdict
from typing import Any

import pytest
import torch
from tests.support.models.engines import Engines, joined, together
from tests.support.models.mixed_jobs import mixed_jobs
from tests.support.models.tiny_pipelines import FAMILIES

from imagefleet_worker.diffusion.engine import Engine

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy
SMALL = 64 * 64


class Witness:
    """In place of the denoiser's own forward: notes the rows by the latents' side, and can be a small device."""

    def __init__(self, engine: Engine, *, full_above: int = 1_000) -> None:
        self.rows: defaultdict[int, list[int]] = defaultdict(list)
        self._forward = engine.shared.denoiser.function
        self._full_above = full_above
        engine.shared.denoiser.function = self

    def __call__(self, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.rows[sample.shape[-1]].append(len(sample))
        if len(sample) > self._full_above:
            raise torch.OutOfMemoryError("no memory left")
        return self._forward(sample, *args, **kwargs)


def test_larger_images_share_a_forward_with_fewer(engines: Engines):
    engine = engines.tuned("sd", max_pixels=8 * SMALL, max_jobs=8)
    witness = Witness(engine)
    small = mixed_jobs("sd", 6, least_steps=5, most_steps=5)
    together(engine, small, threads=6)
    large = [job.model_copy(update={"width": 128, "height": 128, "num_images": 2}) for job in small]
    together(engine, large, threads=6)
    assert max(witness.rows[8]) == 8
    assert max(witness.rows[16]) == 2  # a call of four rows is made in two parts


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_measured_before_the_first_job(engines: Engines, family):
    engine = engines.tuned(family, max_pixels="measure", max_rows=4)
    engine.warm_up()
    assert engine.shared.budget.max_pixels in {SMALL, 2 * SMALL, 4 * SMALL}


def test_a_device_that_is_full_while_it_is_measured_serves_what_fits(engines: Engines):
    engine = engines.tuned("sd", max_pixels="measure", max_rows=16)
    witness = Witness(engine, full_above=4)
    engine.warm_up()
    assert max(witness.rows[8]) > 4, "nothing was too much"
    assert engine.shared.budget.max_pixels in {SMALL, 2 * SMALL, 4 * SMALL}
    witness.rows.clear()
    joined(engine, mixed_jobs("sd", 4))
    assert max(witness.rows[8]) <= 4
