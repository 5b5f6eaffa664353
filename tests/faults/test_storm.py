"""A short storm; `python -m tests.faults.storm` is the long one."""

import pytest
from tests.faults.storm.__main__ import parser, run

FREE_OF = (
    "lost",
    "duplicate_results",
    "duplicate_artifacts",
    "wrong_images",
    "hash_mismatches",
    "missing_webhooks",
    "poisoned",
    "renders_repeated",
    "dead_letters",
    "left_claims",
    "never_redelivered",
)


@pytest.mark.timeout(400)
def test_a_storm_loses_doubles_and_repeats_nothing() -> None:
    """Two workers and S3 go away, Redis fails over, and each job has one result with the right images, made once."""
    figures = run(parser().parse_args(["--jobs", "60", "--kills", "3", "--s3-outage", "20"]))
    print("measured", figures)

    assert {name: figures[name] for name in FREE_OF} == dict.fromkeys(FREE_OF, 0)
    assert (figures["kills"], figures["fail_overs"]) == ({"worker": 2, "fail_over": 1}, 1)
    assert figures["s3_outage_s"] >= 20
