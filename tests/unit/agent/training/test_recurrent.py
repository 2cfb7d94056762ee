"""Recurrent layers are trained in a twin that computes the same under the same names."""

import dp_bench as bench
import numpy as np
import pytest
import torch
from odd_tasks_bench import NoOptions, Sketch
from opacus import GradSampleModule
from opacus.layers import DPGRU, DPLSTM, DPRNN
from opacus.layers.dp_rnn import RNNLinear
from torch import nn

from edgeveil.agent.training.recurrent import trained_form
from edgeveil.agent.training.training import check_trainable, train
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector

KINDS = [
    (nn.LSTM, DPLSTM, {}),
    (nn.GRU, DPGRU, {}),
    (nn.RNN, DPRNN, {"nonlinearity": "tanh"}),
    (nn.RNN, DPRNN, {"nonlinearity": "relu"}),
    (nn.LSTM, DPLSTM, {"num_layers": 2, "bidirectional": True}),
    (nn.GRU, DPGRU, {"bias": False}),
]


class Over(nn.Module):
    """A recurrent layer below another module, then a head."""

    def __init__(self, layer):
        super().__init__()
        self.body = nn.ModuleList([layer])
        self.head = nn.Linear(5, 1)

    def forward(self, inputs):
        return self.head(self.body[0](inputs)[0].mean(dim=1)).squeeze(1)


def _draw(count, random):
    return torch.randn((count, 7, 3), generator=random), torch.randn(count, generator=random)


def sketch(make, name="over"):
    return Sketch(name, lambda: Over(make()), nn.MSELoss(reduction="none"), _draw)


@pytest.mark.parametrize(("kind", "twin", "more"), KINDS)
def test_the_twin_has_the_same_names_values_and_output(kind, twin, more):
    torch.manual_seed(1)
    layer = kind(3, 5, batch_first=True, **more)
    before = torch.get_rng_state()
    made = trained_form(nn.Sequential(layer))[0]
    assert torch.equal(before, torch.get_rng_state())
    assert type(made) is twin
    assert trainable(made) == trainable(layer)
    tensors = trainable(layer)
    assert read_vector(made, tensors).tobytes() == read_vector(layer, tensors).tobytes()
    inputs = torch.randn(4, 9, 3)
    assert torch.allclose(made(inputs)[0], layer(inputs)[0], atol=1e-6)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(("kind", "_twin", "more"), KINDS)
def test_each_records_gradient_is_that_of_the_standard_layer_alone_and_hooks_run_once_for_each_map(
    kind, _twin, more
):
    torch.manual_seed(2)
    layer = kind(3, 5, batch_first=True, **more)
    made = trained_form(nn.Sequential(layer))[0].train()
    inputs, calls = torch.randn(4, 9, 3), []
    for part in made.modules():
        if isinstance(part, RNNLinear):
            part.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    private = GradSampleModule(made, batch_first=True, loss_reduction="sum")
    private(inputs)[0].square().sum().backward()
    assert calls == [True] * len(calls)
    assert len(calls) == 2 * layer.num_layers * (2 if layer.bidirectional else 1)
    found = dict(made.named_parameters())
    for number in range(4):
        layer.zero_grad()
        layer(inputs[number : number + 1])[0].square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert torch.allclose(found[name].grad_sample[number], parameter.grad, atol=1e-5), name


def test_a_record_that_is_not_finite_changes_no_other():
    torch.manual_seed(3)
    made = trained_form(nn.Sequential(nn.LSTM(3, 5, batch_first=True)))[0].train()
    inputs = torch.randn(4, 9, 3)
    calm = made(inputs)[0].detach()
    inputs[1, 2, 0] = float("nan")
    assert torch.equal(made(inputs)[0].detach()[[0, 2, 3]], calm[[0, 2, 3]])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_is_trained_is_read_back_by_the_standard_layer(kind, monkeypatch):
    monkeypatch.setattr(
        "edgeveil.agent.training.engines.optimizer.gaussian", lambda count, _std: np.zeros(count)
    )
    task, options = sketch(lambda: kind(3, 5, batch_first=True), kind.__name__), NoOptions()
    records, tensors = task.records(20), task.tensors(NoOptions())
    start = read_vector(task.build(options), tensors)
    plan = bench.plan(steps=2, learning_rate=0.5)
    fast = train(task, options, records, start, tensors, plan, 20)
    exact = train(task, options, records, start, tensors, plan, 20, modes=("single",))
    assert fast.gradient_mode == "hooks"
    assert np.linalg.norm(fast.update) > 0
    assert np.linalg.norm(fast.update - exact.update) <= 1e-4 * np.linalg.norm(exact.update)
    standard, twin = task.build(options), trained_form(task.build(options))
    for module in (standard, twin):
        write_vector(module, start + fast.update, tensors)
    inputs, _ = records.take(np.arange(20))
    assert torch.allclose(standard(inputs), twin(inputs), atol=1e-6)


def test_a_layer_without_a_twin_is_refused_with_its_path_and_what_to_do():
    task = sketch(lambda: nn.LSTM(3, 8, batch_first=True, proj_size=5), "projected")
    with pytest.raises(PolicyRefusal, match=r"body\.0 \(LSTM\) .*DPLSTM") as caught:
        check_trainable(task, NoOptions())
    assert caught.value.code is RefusalCode.MODEL_NOT_INDEPENDENT


def test_a_frozen_layer_stays_frozen_and_other_modules_are_left_alone():
    module = Over(nn.GRU(3, 5, batch_first=True))
    module.body.requires_grad_(requires_grad=False)
    head = module.head
    made = trained_form(module)
    assert made.head is head
    assert [each.name for each in trainable(made)] == ["head.bias", "head.weight"]
