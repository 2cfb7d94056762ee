"""Models in which a record's gradient depends on other records are refused."""

import dp_bench as bench
import pytest
import torch
from torch import nn

from edgeveil.agent.training import engine_choice, memory
from edgeveil.agent.training.engine_choice import choose
from edgeveil.agent.training.engines.gradients import Hooks
from edgeveil.agent.training.validate import (
    LARGEST,
    Probe,
    check_model,
    engine_agrees,
    out_of_place,
)
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.tasks.registry import load, newest

MODES = ("hooks", "ghost", "single")
DETECTOR = load(newest("detection"))


class MixesTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, bench.CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(x - x.mean(0))


class LossOverTheBatch(nn.Module):
    """As some detectors do: divided by a count taken from the whole batch."""

    reduction = "none"

    def forward(self, outputs, targets):
        losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return losses / (1 + targets.sum())


class Mean(nn.Module):
    reduction = "mean"

    def forward(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = kind(8, 8, batch_first=True)
        self.head = nn.Linear(8, bench.CLASSES)

    def forward(self, x):
        return self.head(self.cell(x.flatten(1, 2))[0][:, -1])


class UnusedParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, bench.CLASSES)
        self.spare = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.head(x.flatten(1))


class ChangesABuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, bench.CLASSES)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += len(x)
        return self.head(x.flatten(1))


class OwnLayer(nn.Module):
    """A trainable parameter in a module that no per-record rule knows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.ones(64, bench.CLASSES))

    def forward(self, x):
        return x.flatten(1) @ self.weight


class AddsInPlace(nn.Module):
    """Overwrites an activation that per-record rules need; exact only one record at a time."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.head = nn.Linear(64, bench.CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        y = self.first(x)
        y += x
        return self.head(y)


class StuckInEvaluation(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(mode=False)


def batch_norm(*, affine=True, frozen=False):
    norm = nn.BatchNorm2d(1, affine=affine)
    for p in norm.parameters():
        p.requires_grad = not frozen
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(64, bench.CLASSES))


class MixesAtSomeSizes(nn.Module):
    """Mixes the batch, but only where `when(size)` says so: a trap for a test of one size."""

    def __init__(self, when):
        super().__init__()
        self.when = when
        self.head = nn.Linear(64, bench.CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(x - x.mean(0) if self.when(len(x)) else x)


SIZES = {
    "one record alone": lambda size: size == 1,
    "two or more": lambda size: size >= 2,
    "eight or more": lambda size: size >= 8,
    "more than eight, even": lambda size: size > 8 and size % 2 == 0,
    "more than eight, odd": lambda size: size > 8 and size % 2 == 1,
    "a power of two": lambda size: size in {2, 4, 8, 16, 32, 64},
}


@pytest.mark.parametrize("name", SIZES)
def test_a_model_that_mixes_at_certain_sizes_only_is_refused_at_every_start(name):
    when = SIZES[name]
    for _ in range(20):
        with pytest.raises(PolicyRefusal, match="mixes the records"):
            check_model(bench.probe(lambda: MixesAtSomeSizes(when)))


def test_mixing_above_the_largest_size_tried_is_the_stated_limit():
    """docs/threat-model.md says so: the catalogue is installed with the product, not sent."""
    check_model(bench.probe(lambda: MixesAtSomeSizes(lambda size: size > LARGEST)))


class FrozenMixer(nn.Module):
    """Mixes the batch by a frozen weight that is zero at first, and is what a plan's model says later."""

    def __init__(self):
        super().__init__()
        self.body = nn.Flatten()
        self.gain = nn.Parameter(torch.zeros(64), requires_grad=False)
        self.head = nn.Linear(64, bench.CLASSES)

    def forward(self, x):
        flat = self.body(x)
        return self.head(flat + self.gain * flat.mean(dim=0))


REFUSED = {
    "batch norm": batch_norm,
    "frozen batch norm": lambda: batch_norm(frozen=True),
    "batch norm without weights": lambda: batch_norm(affine=False),
    "instance norm with statistics": lambda: nn.Sequential(
        nn.InstanceNorm2d(1, track_running_stats=True), nn.Flatten(), nn.Linear(64, bench.CLASSES)
    ),
    "mixed batch": MixesTheBatch,
    "mixed by a frozen weight": FrozenMixer,
    "rnn": lambda: Recurrent(nn.RNN),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "unused parameter": UnusedParameter,
    "changed buffer": ChangesABuffer,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_private_is_refused(name):
    with pytest.raises(PolicyRefusal) as caught:
        check_model(bench.probe(REFUSED[name]))
    assert caught.value.code is RefusalCode.MODEL_NOT_INDEPENDENT


class HiddenMixer(nn.Module):
    """Attention over the batch, deep inside."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.Sequential(nn.Tanh(), Centre())
        )
        self.head = nn.Linear(8, bench.CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


class Centre(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


SENTENCES = {
    "batch norm": (batch_norm, "0 (BatchNorm2d) uses the statistics of the batch; replace it with GroupNorm"),
    "frozen": (lambda: batch_norm(frozen=True), "0 (BatchNorm2d) uses the statistics"),
    "instance norm": (REFUSED["instance norm with statistics"], "0 (InstanceNorm2d) keeps statistics of the data; set track_running_stats=False"),
    "lstm": (REFUSED["lstm"], "(LSTM) has no per-record rule; use opacus.layers.DPLSTM"),
    "mixed in forward": (MixesTheBatch, "the model's own forward() mixes the records"),
    "mixed inside": (HiddenMixer, "body.2.1 mixes the records of a batch; compute it from each record alone"),
    "unused": (UnusedParameter, "takes no part in the loss; freeze or remove it"),
    "buffer": (ChangesABuffer, "the buffer seen, which is never sent; make it a constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_the_refusal_names_the_module_and_the_fix(name):
    build, sentence = SENTENCES[name]
    with pytest.raises(PolicyRefusal) as caught:
        check_model(bench.probe(build))
    assert sentence in caught.value.message


def test_a_mixing_loss_is_told_from_a_mixing_model():
    with pytest.raises(PolicyRefusal, match="the loss, or a backward pass, mixes"):
        check_model(bench.probe(bench.linear, LossOverTheBatch()))


@pytest.mark.parametrize("loss", [LossOverTheBatch(), Mean()], ids=["over the batch", "mean"])
def test_a_loss_that_is_not_one_value_per_record_is_refused(loss):
    with pytest.raises(PolicyRefusal) as caught:
        check_model(bench.probe(bench.linear, loss))
    assert caught.value.code is RefusalCode.MODEL_NOT_INDEPENDENT


@pytest.mark.parametrize("build", [bench.linear, bench.convolutional])
def test_a_sound_model_passes_and_both_engines_agree_with_one_record_at_a_time(build):
    check_model(bench.probe(build))
    assert engine_agrees(bench.probe(build), "hooks")
    assert engine_agrees(bench.probe(build), "ghost")


def test_a_frozen_normalisation_in_evaluation_mode_is_no_obstacle():
    def build():
        norm = StuckInEvaluation(1)
        for p in norm.parameters():
            p.requires_grad = False
        return nn.Sequential(norm, nn.Flatten(), nn.Linear(64, bench.CLASSES))

    check_model(bench.probe(build))


def test_an_addition_in_place_leaves_one_record_at_a_time():
    choice = choose(bench.probe(AddsInPlace), MODES)
    assert choice.mode == "single"


def test_operations_in_place_are_switched_off():
    module = out_of_place(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)))
    assert not module[0].inplace


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_choosing_respects_the_policy(mode):
    assert choose(bench.probe(bench.linear), {mode}).mode == mode
    assert choose(bench.probe(bench.linear), {"single"}).mode == "single"


def test_the_faster_engine_wins(monkeypatch):
    seconds = {"hooks": 2.0, "ghost": 1.0, "single": 4.0}
    monkeypatch.setattr(engine_choice, "_seconds", lambda _probe, mode, _chunk: seconds[mode])
    assert choose(bench.probe(bench.linear), MODES).mode == "ghost"
    seconds["ghost"] = 3.0
    assert choose(bench.probe(bench.linear), MODES).mode == "hooks"
    seconds["single"] = 1.5
    assert choose(bench.probe(bench.linear), MODES).mode == "single"
    assert choose(bench.probe(bench.linear), {"hooks", "ghost"}).mode == "hooks"


def test_records_that_go_one_at_a_time_are_held_within_the_memory_cap(monkeypatch):
    monkeypatch.setattr(engine_choice, "engine_agrees", lambda _probe, _mode: False)
    monkeypatch.setattr(memory, "chunk_memory", lambda: (2560, "little"))
    assert choose(bench.probe(bench.linear), MODES).chunk == 10  # of 64 float32 each


def test_an_engine_that_is_wrong_for_a_model_is_not_used(monkeypatch):
    exact = Hooks._fill

    def wrong(self, inputs, targets):
        exact(self, inputs, targets)
        for p in self._params:
            p.grad_sample *= 1.01

    monkeypatch.setattr(Hooks, "_fill", wrong)
    assert not engine_agrees(bench.probe(bench.linear), "hooks")


def test_without_an_exact_engine_one_record_at_a_time_is_used_or_the_model_refused(monkeypatch):
    monkeypatch.setattr(engine_choice, "engine_agrees", lambda _probe, _mode: False)
    assert choose(bench.probe(bench.linear), MODES).mode == "single"
    with pytest.raises(PolicyRefusal) as caught:
        choose(bench.probe(bench.linear), ("hooks", "ghost"))
    assert caught.value.code is RefusalCode.MODEL_NOT_INDEPENDENT


def test_an_unknown_layer_still_trains():
    choice = choose(bench.probe(OwnLayer), MODES)
    assert choice.mode in MODES


def test_chunks_follow_a_memory_cap(monkeypatch):
    whole = choose(bench.probe(bench.convolutional), {"hooks"}).chunk
    monkeypatch.setattr(memory, "chunk_memory", lambda: (100_000, "little"))
    small = choose(bench.probe(bench.convolutional), {"hooks"}).chunk
    assert 1 <= small < whole <= engine_choice.MOST_RECORDS
    monkeypatch.setattr(memory, "chunk_memory", lambda: (1, "none"))
    assert choose(bench.probe(bench.convolutional), {"hooks"}).chunk == 1


class OverTheBoxesOfTheBatch(nn.Module):
    """As torchvision's SSD: divided by what all pictures of a batch show together."""

    reduction = "none"

    def forward(self, outputs, targets):
        return DETECTOR.criterion("none")(outputs, targets) / (targets[..., 0] >= 0).sum()


def test_a_loss_of_boxes_over_all_boxes_of_the_batch_is_refused():
    options = DETECTOR.parse_options({"labels": "a,b", "variant": "tiny", "size": 64})

    def probe(criterion):
        return Probe(
            lambda: DETECTOR.build(options),
            criterion,
            lambda count, random: DETECTOR.probe(count, random, options),
        )

    check_model(probe(DETECTOR.criterion("none")))
    with pytest.raises(PolicyRefusal) as refused:
        check_model(probe(OverTheBoxesOfTheBatch()))
    assert refused.value.code is RefusalCode.MODEL_NOT_INDEPENDENT
