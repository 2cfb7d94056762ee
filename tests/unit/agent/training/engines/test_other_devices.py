"""Training on an accelerator, on a machine that has none: shapes, types and places without numbers.

Fake tensors refuse any operation over two devices, as real ones do. What has no float64 must never be
asked for it. That the numbers are right there only scripts/check_gpu.py can say.
"""

import dp_bench as bench
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from edgeveil.agent.training.compute import Compute
from edgeveil.agent.training.engines import summing
from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism

ELSEWHERE = "lazy"  # a kind of device that torch lets us pretend to have, with backward passes
MECHANISM = Mechanism(clip_norm=0.5, noise_multiplier=1.0, n_ref=6, steps=2, proximal=0.1)


class Noted(TorchDispatchMode):
    """Every (kind of device, type) that an operation put out."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor):
                self.seen.add((each.device.type, each.dtype))
        return found


def trained(build, mode, device):
    """Two steps of three chunks in all, on a device that is not there; what was put out where."""
    with torch.device(device):
        module = build()
    compute = Compute(device)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5)
    engine = ENGINES[mode](module, torch.nn.CrossEntropyLoss(reduction="none"))
    with Noted() as noted, engine.attach(optimizer, MECHANISM):
        for chunks in (2, 1):
            for _ in range(chunks):
                inputs, targets = torch.randn(3, *bench.SHAPE), torch.randint(3, (3,))
                engine.accumulate(compute.moved(inputs), compute.moved(targets))
            engine.finish()
        engine.finish()
    assert {p.device.type for p in module.parameters()} == {device}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    return noted.seen


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
@pytest.mark.parametrize("model", list(bench.MODELS))
@pytest.mark.parametrize("wide", [True, False], ids=["has float64", "has no float64"])
def test_no_operation_mixes_devices_and_sums_are_wide_where_they_can_be(
    wide, model, mode, monkeypatch
):
    if not wide:
        monkeypatch.setattr(summing, "NARROW", (ELSEWHERE,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        seen = trained(bench.MODELS[model], mode, ELSEWHERE)
    assert (ELSEWHERE, torch.float32) in seen
    assert ("cpu", torch.float64) in seen  # the noise, at least
    assert ((ELSEWHERE, torch.float64) in seen) == wide
