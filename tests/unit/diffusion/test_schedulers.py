"""Each job's scheduler is its own, and as new."""

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, go_on, pixels

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.errors import JobRejected

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # torch arrays in numpy
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # the same, in KDPM2
]

JOB = GenerationJob(prompt="a fox", seed=1)


def test_schedulers_of_jobs_share_nothing_that_one_of_them_writes_to(engines: Engines) -> None:
    engine = engines.shared("sd")
    schedulers = engine.renderer.schedulers
    for kind in engine.pipe.scheduler.compatibles:
        try:
            one = schedulers.fresh(JOB.model_copy(update={"scheduler": kind.__name__}))
        except JobRejected:  # a kind that needs a package
            continue
        made = kind.from_config(engine.pipe.scheduler.config)
        other = schedulers.fresh(JOB.model_copy(update={"scheduler": kind.__name__}))
        assert vars(one).keys() == vars(made).keys()
        assert one.config == made.config
        for name, value in vars(one).items():
            assert repr(value) == repr(vars(made)[name]), (kind, name)
            if name != "_internal_dict" and isinstance(value, torch.Tensor | list | dict | np.ndarray):
                assert value is not vars(other)[name], (kind, name)
                assert not isinstance(value, torch.Tensor) or value.data_ptr() != vars(other)[name].data_ptr()


def test_tables_stay_on_the_host_except_those_for_flow_matching(engines: Engines) -> None:
    """These look nothing up in them, and sums with a number of the host are rounded in another way."""
    for family, stays in (("sd", True), ("flux", False)):
        schedulers = engines.fresh(family).renderer.schedulers
        schedulers.keeps_tables_on_host = True
        scheduler = schedulers.fresh(JOB)
        scheduler.set_timesteps(4, device="meta", **({} if stays else {"mu": 1.0}))
        assert (scheduler.timesteps.device.type == "cpu") is stays


def test_a_scheduler_that_was_used_leaves_the_next_ones_as_new(engines: Engines) -> None:
    engine = engines.fresh("sd")
    for name in ("UniPCMultistepScheduler", "DPMSolverSinglestepScheduler", "PNDMScheduler"):
        job = JOB.model_copy(update={"scheduler": name, "steps": 5})
        first = pixels(engine, job)
        engine.render(engine.check(job.model_copy(update={"steps": 7})), seed=2, on_step=go_on)
        assert (pixels(engine, job) == first).all()
        assert (pixels(engines.fresh("sd"), job) == first).all()
