"""Each promise of a task, broken: the check says so in one sentence and names the fix."""

import numpy as np
import pytest
import torch
from conforming_bench import CASES
from torch import nn

from edgeveil.shared.scores.tallies import Tallies
from edgeveil.shared.tasks.conformance.subject import Subject
from edgeveil.shared.tasks.conformance.suite import CHECKS, examine
from edgeveil.shared.tasks.modules import zero_linear
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.sensors.tabular import Tabular
from edgeveil.shared.tasks.spec import Options, tallied

CASE = next(case for case in CASES if str(case) == "tabular-mlp")


def found(kind):
    """The faults of a changed task, by promise; everything else is kept."""
    _, options = CASE.made()
    each = examine(Subject(kind(), options, CASE.write))
    return {finding.promise: finding.fault for finding in each if finding.fault}


class Company(nn.Module):
    """Centres the batch before a layer: BatchNorm without the name."""

    def __init__(self):
        super().__init__()
        self.head = zero_linear(3, 3, bias=True)

    def forward(self, inputs):
        return self.head(inputs - inputs.mean(dim=0))


class MixingUp(Tabular):
    """Mixup: half of another record in each."""

    def augment(self, inputs, targets, _draws, _options):
        return 0.5 * inputs + 0.5 * inputs.flip(0), targets


class Reshaping(Tabular):
    def augment(self, inputs, targets, _draws, _options):
        return inputs.double(), targets


def test_variation_that_mixes_records_is_found():
    faults = found(MixingUp)
    assert "varies each record by itself" in faults
    assert "one record moves the gradients of several" in faults["varies each record by itself"]


def test_variation_into_another_form_is_found():
    assert "changes the form" in found(Reshaping)["varies each record by itself"]


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = zero_linear(3, 3, bias=True)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        if self.training:
            self.seen += len(inputs)
        return self.head(inputs)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = zero_linear(3, 3, bias=True)
        self.last = 0.0

    def forward(self, inputs):
        outputs = self.head(inputs) + self.last
        self.last = float(inputs.detach().sum())
        return outputs


class Shared(nn.CrossEntropyLoss):
    """One value per record, divided by the size of the batch."""

    def forward(self, outputs, targets):
        return super().forward(outputs, targets) / max(1, len(targets))


class Mixing(Tabular):
    def build(self, options):
        return Company()


class MixingLoss(Tabular):
    def criterion(self, reduction):
        return Shared(reduction=reduction)


class MeanLoss(Tabular):
    def criterion(self, reduction):
        return nn.CrossEntropyLoss()


class Buffered(Tabular):
    def build(self, options):
        return Counting()


class Stateful(Tabular):
    def build(self, options):
        return Remembering()


class Random(Tabular):
    def build(self, options):
        return nn.Linear(3, 3)


class Unused(Tabular):
    def build(self, options):
        module = super().build(options)
        module.spare = nn.Parameter(torch.zeros(2))
        return module


class Unnamed(Tabular):
    def tensors(self, options):
        return super().tensors(options)[:-1]


class OpenOptions(Tabular):
    def parse_options(self, raw):
        return Options.model_construct(**raw)


class Centred(Tabular):
    def prepare(self, found, labels, options):
        records = super().prepare(found, labels, options)
        centred = records.inputs - records.inputs.mean(axis=0)
        return ArrayRecords(centred, records.targets, records.skipped)


class OtherForm(Tabular):
    def probe(self, count, random, options):
        return torch.randn((count, 5), generator=random), torch.zeros(count, dtype=torch.int64)


class Picky(Tabular):
    def load(self, path, options):
        records = super().load(path, options)
        return ArrayRecords(records.inputs[1:], records.targets[1:])


class FloatTally(Tabular):
    def tallies(self, outputs, targets, options):
        found = super().tallies(outputs, targets, options)
        return Tallies(found.count, found.rows, found.cells, found.values / 2)


class VectorTally(Tabular):
    def tallies(self, outputs, targets, options):
        return tallied(Tabular(), outputs, targets, options)


class FlatTally(Tabular):
    """Counts no cell twice in a batch."""

    def tallies(self, outputs, targets, options):
        found = super().tallies(outputs, targets, options)
        cells, rows = np.unique(found.cells, return_index=True)
        return Tallies(found.count, rows, cells, np.ones(len(rows), np.int64))


class HeavyTally(Tabular):
    """Tries to count each record a thousand times, in every cell."""

    def tallies(self, outputs, targets, options):
        cells = self.tally_form(options).length
        return Tallies.full(np.full((len(targets), cells), 1000))


class StrayTally(Tabular):
    """Names cells and records that there are not."""

    def tallies(self, outputs, targets, options):
        found = super().tallies(outputs, targets, options)
        return Tallies(found.count, found.rows, found.cells - 7, found.values)


class NoisyFigures(Tabular):
    def metrics(self, tally, options):
        return {name: float(tally.sum()) for name in super().metrics(tally, options)}


class FewFigures(Tabular):
    def metrics(self, tally, options):
        return {"accuracy": 0.5}


class Raising(Tabular):
    def keep(self, tally, options):
        raise KeyError("confusion")


class NanTally(Tabular):
    def tallies(self, outputs, targets, options):
        found = super().tallies(outputs, targets, options)
        if np.isnan(outputs.numpy()).any():
            return Tallies.one_each(np.zeros(found.count, np.int64))
        return found


GRADIENT = "has a gradient of each record alone"
BOUND = "adds no more of a record to a tally than it declares"


@pytest.mark.parametrize(
    ("kind", "promise", "said"),
    [
        (Mixing, GRADIENT, "mixes them, as BatchNorm"),
        (MixingLoss, GRADIENT, "or a mean over the batch"),
        (MeanLoss, GRADIENT, 'reduction="none"'),
        (MeanLoss, "has a loss per record, their mean and their sum", "says reduction 'mean'"),
        (Buffered, "remembers nothing between records", "the buffer seen"),
        (Stateful, "remembers nothing between records", "keep no state between records"),
        (Random, "starts from the same bits everywhere", "torch.Generator().manual_seed"),
        (Unused, GRADIENT, "spare takes no part in the loss"),
        (Unnamed, "has as many parameters as it says", "not the trainable parameters of build()"),
        (OpenOptions, "has closed options", "takes {'variant': 'no-such-variant'}"),
        (Centred, "prepares each record by itself", "scale by public constants alone"),
        (OtherForm, "makes records up in the form of real ones", "have the form"),
        (Picky, "prepares each record by itself", "8 of 9 records"),
        (FloatTally, "has tallies that add up", "int64"),
        (FlatTally, "has tallies that add up", "do not add up"),
        (VectorTally, "has tallies that add up", "gives a ndarray; give Tallies"),
        (HeavyTally, BOUND, "declare what a record can add at most"),
        (StrayTally, BOUND, "declare what a record can add at most"),
        (NoisyFigures, "has figures within their range", "accuracy is"),
        (FewFigures, "has figures within their range", "the scoring names"),
        (
            Raising,
            "has figures within their range",
            "raised KeyError: 'confusion' (test_broken_tasks.py, line",
        ),
        (NanTally, "stands a record of NaN", "spoils the counts of others"),
    ],
)
def test_a_broken_promise_is_found_and_said_in_plain_words(kind, promise, said):
    faults = found(kind)
    assert said in faults[promise]
    assert "\n" not in faults[promise]


def test_every_check_has_a_task_that_it_finds_wanting():
    tried = {mark for test in [test_a_broken_promise_is_found_and_said_in_plain_words] for args in test.pytestmark[0].args[1:] for _, mark, _ in args}  # fmt: skip
    beside = {
        "stands an empty batch",
        "takes the records that it asks for",
        "varies each record by itself",
    }
    assert tried | beside == {check.promise for check in CHECKS}


class Greedy(Tabular):
    """Counts one record even where there is none."""

    def tallies(self, outputs, targets, options):
        return Tallies.one_each(np.zeros(len(targets) + 1, np.int64))


class Elsewhere(Tabular):
    def prepare(self, found, labels, options):
        records = super().prepare(found, labels, options)
        return ArrayRecords(records.inputs[::-1].copy(), records.targets)

    def load(self, path, options):
        records = super().load(path, options)
        return ArrayRecords(records.inputs[::-1].copy(), records.targets)


@pytest.mark.parametrize("kind", [HeavyTally, StrayTally])
def test_no_task_gets_more_of_a_record_into_a_sum_than_it_declares(kind):
    task, (_, options) = kind(), CASE.made()
    outputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    for count in (1, 5):
        sums = tallied(task, outputs[:count], torch.zeros(count, dtype=torch.int64), options)
        assert np.square(sums[None] / count).sum() <= task.tally_form(options).most


def test_a_tally_of_nothing_is_nothing():
    assert "tallies() of an empty batch" in found(Greedy)["stands an empty batch"]


def test_records_that_are_prepared_otherwise_than_loaded_are_found():
    assert "other values than load()" in found(Elsewhere)["takes the records that it asks for"]


def test_where_no_records_can_be_made_up_it_says_so():
    task, options = CASE.made()
    open_ = [each for each in examine(Subject(task, options, None)) if not each.tried]
    assert {each.promise for each in open_} == {check.promise for check in CHECKS if check.needs_records}  # fmt: skip
