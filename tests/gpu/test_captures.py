"""Captures on the device: seconds, no model. What torch's allocator and streams do there, no CPU can show."""

from collections.abc import Iterator

import pytest
import torch
from tests.gpu.conftest import DEVICE

from imagefleet_worker.batching.graph_device import CudaDevice
from imagefleet_worker.diffusion.host_copy import HostCopy

pytestmark = pytest.mark.skipif(DEVICE != "cuda", reason="only a CUDA device has graphs")


@pytest.fixture
def network() -> Iterator[torch.nn.Module]:
    """A layer with cuBLAS below it, which keeps a workspace for each stream."""
    with torch.inference_mode():
        yield torch.nn.Linear(512, 512, device="cuda", dtype=torch.bfloat16)


def test_graphs_are_captured_and_dropped_again_and_again(network: torch.nn.Module) -> None:
    device = CudaDevice(torch.device("cuda"))
    given = torch.ones(8, 512, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):  # each time no graph is left of the time before
        one, other = (device.capture(lambda: network(given)) for _ in range(2))
        one.replay()
        other.replay()
        assert torch.allclose(one.output, network(given))
        assert torch.allclose(other.output, network(given))
        del one, other


def test_a_forward_that_waits_is_refused_and_later_ones_are_captured(network: torch.nn.Module) -> None:
    device = CudaDevice(torch.device("cuda"))
    given = torch.ones(8, 512, device="cuda", dtype=torch.bfloat16)
    own = torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="synchronizing"):
        device.capture(lambda: network(given) * given.sum().item())
    assert torch.cuda.current_stream() == own
    assert torch.cuda.get_sync_debug_mode() == 0
    assert device.capture(lambda: network(given))


def test_a_copy_waits_for_the_work_before_it() -> None:
    slow = torch.eye(4096, device="cuda")
    for _ in range(50):
        slow = slow @ slow
    (copy,) = HostCopy([slow.sum(0)]).wait()
    assert copy.is_pinned()
    assert torch.equal(copy, torch.ones(4096))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_a_copy_waits_for_a_device_that_is_not_the_current_one() -> None:
    slow = torch.ones(8192, 8192, device="cuda:1")
    for _ in range(20):
        slow = slow @ slow * 1e-5
    expected = slow[0, :8].clone()
    (copy,) = HostCopy([expected]).wait()
    assert torch.equal(copy, expected.cpu())
