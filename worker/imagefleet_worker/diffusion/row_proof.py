"""The proof of rows: whether a row of a padded batch has the same bits at any place and beside any other rows."""

from collections.abc import Hashable, Sequence

import torch

from imagefleet_worker.batching import collation
from imagefleet_worker.batching.batch_runner import BatchRunner, RecordedCall
from imagefleet_worker.batching.collation import Arguments, Unjoinable
from imagefleet_worker.batching.tensor_digests import value_of


def rows_keep_their_bits(calls: Sequence[RecordedCall], runner: BatchRunner, *, width: int) -> bool:
    """Whether jobs whose calls are filled up to *width* rows may share forwards and still give the same bits.

    Rows of recorded *calls* are put into batches in different orders, and one row into all places of a batch. False if
    there are no two rows that go together.
    """
    rows = _rows_that_go_together(calls)[:width]
    if len(rows) < 2:  # noqa: PLR2004  # a row and a neighbour
        return False

    def outputs(order: Sequence[int]) -> list[list[torch.Tensor]]:
        arguments = collation.pad(collation.collate([(rows[i], 1) for i in order]), len(order), to=width)
        output = runner.forward(calls[0].method, arguments, width)
        return [collation.tensors_in(row) for row in collation.split_output(output, [1] * width)]

    straight = list(range(len(rows)))
    try:
        expected = outputs(straight)
        for order in (straight[::-1], straight[1:] + straight[:1], [0] * len(rows)):
            found = outputs(order)
            for place, row in enumerate(order):
                if not all(map(torch.equal, found[place], expected[row])):
                    return False
    except Unjoinable:
        return False
    return True


def _rows_that_go_together(calls: Sequence[RecordedCall]) -> list[Arguments]:
    """The single rows of *calls* that could share a forward with the first of them."""
    rows = [
        collation.slice_rows(call.arguments, call.rows, start=i, stop=i + 1) for call in calls for i in range(call.rows)
    ]
    return [row for row in rows if _key(row) == _key(rows[0])]


def _key(row: Arguments) -> dict[str, Hashable]:
    return collation.batch_key(row, 1, digest=value_of, is_exact=True)
