"""How long to wait before another try."""

from imagefleet_worker.queue.backoff import backoff_s


def test_pauses_double_from_the_base_up_to_the_longest() -> None:
    for failures in range(100):
        longest = min(5.0 * 2**failures, 3600)
        pauses = [backoff_s(failures, base_s=5, longest_s=3600) for _ in range(50)]

        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert max(pauses) - min(pauses) > longest / 10, "those that failed together must not come back together"
