"""One NaN or infinity among any number of values is found, and no number is taken for one."""

import pytest
import torch

from imagefleet_worker.batching.finite import all_finite

FORMATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("values", [(float("nan"),), (float("inf"),), (-float("inf"),), (float("inf"), -float("inf"))])
def test_what_is_no_number_is_found(dtype: torch.dtype, values: tuple[float, ...]) -> None:
    tensor = torch.zeros(2, 3, 8, 8, dtype=dtype)
    tensor[1, 2, 5, : len(values)] = torch.tensor(values, dtype=dtype)
    assert not all_finite(tensor)
    assert not all_finite(tensor.to(memory_format=torch.channels_last)[1:])


@pytest.mark.parametrize("dtype", FORMATS)
def test_large_numbers_are_numbers(dtype: torch.dtype) -> None:
    """The sum of the largest half-precision numbers is more than one of them can be."""
    most = min(torch.finfo(dtype).max, 1e30)
    assert all_finite(torch.full((3, 64, 64), most, dtype=dtype))
