"""A stranger's model that cannot be trained privately is refused by its path, with the fix."""

import own_tasks_bench as bench
import pytest

from edgeveil.agent.training.conforming import ALL_CHECKS, PRIVATE_CHECKS
from edgeveil.shared.tasks.conformance.suite import examine
from edgeveil.shared.tasks.own.installing import candidate
from edgeveil.shared.tasks.own.shelf import Shelf

PRIVATE, NANS, LEARNS = (check.promise for check in PRIVATE_CHECKS)


def faults(text, folder):
    subject = candidate(str(bench.write(folder, text)), Shelf(folder / "home")).subject()
    return {each.promise: each.fault for each in examine(subject, ALL_CHECKS) if each.fault}


@pytest.mark.parametrize("name", bench.ALL)
def test_a_model_and_a_loss_are_trained_privately(name, tmp_path):
    assert faults(bench.ALL[name], tmp_path) == {}


LSTM = bench.changed("self.body = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))", "self.body = nn.Linear(2, 2)\n        self.mix = nn.MultiheadAttention(2, 1)")  # fmt: skip
FLAT = bench.changed("return self.body(inputs)", "return self.body(inputs * 0) * 0 + 1e-9 * self.body(inputs)")  # fmt: skip
MENDS = bench.changed("return self.body(inputs)", "return self.body(inputs.nan_to_num())")


@pytest.mark.parametrize(
    ("text", "promise", "said"),
    [
        (bench.BATCH_NORM, PRIVATE, "body.1 (BatchNorm1d) uses the statistics of the batch; replace it with GroupNorm"),
        (LSTM, PRIVATE, "mix (MultiheadAttention) has no per-record rule; use opacus.layers.DPMultiheadAttention"),
        (bench.NORMALISED, PRIVATE, "the loss, or a backward pass, mixes the records of a batch"),
        (bench.MEAN_LOSS, PRIVATE, 'not one value per record; use reduction="none"'),
        (bench.NAN_SPREADS, PRIVATE, "a record of NaN changes the loss of another"),
        (FLAT, LEARNS, "do not lower the loss"),
        (MENDS, NANS, "turns NaN into numbers before it learns"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_privately_is_named_with_the_fix(text, promise, said, tmp_path):
    found = faults(text, tmp_path)[promise]
    assert said in found
    assert "\n" not in found
