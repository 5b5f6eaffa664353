"""Results that come as jobs end, given on in the order of the prompts."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from imagefleet.ordering import InOrder
from imagefleet.results import JobResult, JobStatus


def _result(job_id: str) -> JobResult:
    return JobResult(id=job_id, status=JobStatus.SUCCEEDED, finished_at=datetime.now(UTC))


@given(st.permutations(["a", "b", "c", "d", "e"]))
def test_each_comes_once_and_as_early_as_the_order_allows(came: list[str]) -> None:
    order, given_on = InOrder("abcde"), ""
    for count, job_id in enumerate(came, start=1):
        given_on += "".join(result.id for result in order.add(_result(job_id)))
        missing = next((each for each in "abcde" if each not in came[:count]), None)
        assert given_on == ("abcde" if missing is None else "abcde".partition(missing)[0])
