"""Where it computes: what is asked for, what is there, and that neither changes what is computed."""

import numpy as np
import pytest
import torch

from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.training import compute, memory
from edgeveil.agent.training.compute import CPU, Compute
from edgeveil.agent.training.engines import summing
from edgeveil.shared.base.errors import ConfigError


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(compute, "seen", lambda: ())


def test_a_device_that_torch_does_not_see_is_a_mistake_in_the_file(no_accelerator):
    for device in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"sees no {device} here, only cpu"):
            Compute.settle(ComputeConfig(device=device))
    assert Compute.settle(ComputeConfig(device="auto", threads=3)) == Compute("cpu", 3)
    assert Compute.settle(ComputeConfig()) == CPU


def test_auto_takes_the_better_of_what_is_there(monkeypatch):
    monkeypatch.setattr(compute, "seen", lambda: ("cuda", "mps"))
    assert Compute.settle(ComputeConfig(device="auto")).device == "cuda"
    assert Compute.settle(ComputeConfig(device="mps")).device == "mps"
    assert Compute.settle(ComputeConfig()).device == "cpu"


def test_threads_are_one_unless_the_owner_or_the_environment_says_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    CPU.prepare()
    Compute("cpu", 4).prepare()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    CPU.prepare()
    assert asked == [1, 4]


def test_records_of_any_form_are_moved_whole():
    batch = ([torch.zeros(2), torch.zeros(3)], (torch.zeros(2, 2),))
    assert CPU.moved(batch) is batch
    (first, second), (third,) = Compute("meta").moved(batch)
    assert {each.device.type for each in (first, second, third)} == {"meta"}
    assert first.shape == (2,)


def test_memory_is_asked_of_the_processor_unless_an_accelerator_has_its_own(monkeypatch):
    monkeypatch.setattr(memory, "chunk_memory", lambda: (123, "little"))
    assert CPU.chunk_memory() == Compute("mps").chunk_memory() == (123, "little")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (800_000_000, 0))
    assert Compute("cuda").chunk_memory() == (100_000_000, "0.8 GB free")


def test_a_device_without_wide_sums_gives_the_same_update_bit_for_bit(monkeypatch):
    """On the processor "there" and "here" are one place, so that nothing but the path differs."""
    rows, weights = torch.randn(5, 7, 3), torch.rand(5)
    before = summing.weighted_sum(weights, rows), summing.outer_sum(rows[:, 0], rows[:, 1]), summing.norms([rows])  # fmt: skip
    monkeypatch.setattr(summing, "NARROW", ("cpu",))
    after = summing.weighted_sum(weights, rows), summing.outer_sum(rows[:, 0], rows[:, 1]), summing.norms([rows])  # fmt: skip
    for a, b in zip(before, after, strict=True):
        assert a.dtype == torch.float64
        assert torch.equal(a, b)
    exact = (weights.double()[:, None, None] * rows.double()).sum(dim=0)
    assert np.allclose(before[0], exact, atol=1e-14)
