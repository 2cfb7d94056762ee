"""SCAFFOLD: the paper's rounds from our own parts, drift removed, what a device keeps and how it may fail."""

from dataclasses import dataclass

import dp_bench as bench
import numpy as np
import pytest
import torch
from fakes_federation import plan_for
from torch import nn

from edgeveil.agent.rounds.upload import to_blob
from edgeveil.agent.rounds.variates import VARIATE_FILE, Variates
from edgeveil.agent.training.engines import optimizer as secure
from edgeveil.agent.training.training import train
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.runs.learner import Learned, Learner
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.vector.model_vector import model_hash
from edgeveil.shared.wire.plan import TrainingPlan

SIZE, STEPS, RATE = 3, 5, 0.1
RUN = "run-1"
CURVES = np.array([[1.0, 0.2, 2.0], [0.3, 2.0, 0.5], [2.0, 1.0, 0.1], [0.5, 0.5, 1.5]])
CENTRES = np.array([[4.0, -3.0, 1.0], [-2.0, 5.0, 0.0], [1.0, 1.0, -6.0], [-5.0, 2.0, 3.0]])


class Bowl(nn.Module):
    """½ Σ aⱼ(wⱼ − bⱼ)² for the one record (a, b) of an agent: agents want different w."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SIZE))

    def forward(self, inputs):
        return 0.5 * inputs[:, :SIZE] * (self.weight - inputs[:, SIZE:]) ** 2


class Sum(nn.Module):
    reduction = "none"

    def forward(self, outputs, _targets):
        return outputs.sum(dim=1)


@dataclass(frozen=True)
class NoOptions:
    def model_dump_json(self):
        return ""


class BowlTask:
    spec = TaskSpec("bowl", "1.0.0", "test_scaffold", ())

    def build(self, _options):
        return Bowl()

    def criterion(self, _reduction):
        return Sum()

    def tensors(self, _options):
        return trainable(Bowl())

    def probe(self, count, random, _options):
        return bench.drawing((2 * SIZE,), 1)(count, random)


TASK, OPTIONS = BowlTask(), NoOptions()
TENSORS = TASK.tensors(OPTIONS)


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(secure, "gaussian", lambda count, _std: np.zeros(count))


class Federation:
    """The product's trainer, file and server rule, with a wire of Python calls and no noise."""

    def __init__(self, folder, *, strategy="scaffold", server_rate=1.0):
        plan = plan_for(
            4, training__steps=STEPS, training__learning_rate=RATE, training__clip_norm=1e3,
            server__strategy=strategy, server__learning_rate=server_rate,
        )  # fmt: skip
        self.training = training_plan(plan)
        self.learner = Learner(plan)
        self.learned = Learned(np.zeros(SIZE, np.float32))
        self.folder = folder
        self.number = 0

    def update(self, agent):
        variates = self.open(agent)
        bend = None
        if self.training.control_variates:
            bend = variates.bend(RUN, self.learned.variate)
        record = np.concatenate([CURVES[agent], CENTRES[agent]]).astype(np.float32)[None]
        examples = ArrayRecords(record, np.zeros(1, np.int64))
        found = train(
            TASK, OPTIONS, examples, self.learned.model, TENSORS, self.training, 1,
            modes=("single",), bend=bend,
        ).update  # fmt: skip
        variates.keep(RUN, to_blob(found))
        return found

    def open(self, agent):
        """As after every restart of the device: all it knows is in the file."""
        folder = self.folder / str(agent)
        folder.mkdir(exist_ok=True)
        return Variates(folder)

    def round(self, agents):
        self.number += 1
        mean = np.mean([self.update(agent).astype(np.float64) for agent in agents], axis=0)
        self.learned = self.learner.next(self.learned, [mean], self.number)
        return self.learned.model


def the_papers_rounds(count, server_rate):
    """Algorithm 1 of arXiv 1910.06378, option II, all agents in every round, in its own symbols."""
    agents = len(CURVES)
    x, c, ci = np.zeros(SIZE), np.zeros(SIZE), np.zeros((agents, SIZE))
    for _ in range(count):
        y, after = np.tile(x, (agents, 1)), np.empty_like(ci)
        for i in range(agents):
            for _ in range(STEPS):
                y[i] -= RATE * (CURVES[i] * (y[i] - CENTRES[i]) - ci[i] + c)
            after[i] = ci[i] - c + (x - y[i]) / (STEPS * RATE)
        x, c = x + server_rate * (y - x).mean(axis=0), c + (after - ci).mean(axis=0)
        ci = after
        yield x, c, ci


def wanted(agents):
    return (CURVES * CENTRES)[agents].sum(axis=0) / CURVES[agents].sum(axis=0)


@pytest.mark.parametrize("server_rate", [1.0, 0.6])
def test_six_rounds_are_those_of_the_papers_algorithm(tmp_path, quiet, server_rate):
    ours = Federation(tmp_path, server_rate=server_rate)
    in_gradients = -1 / (STEPS * RATE)
    for number, (x, c, ci) in enumerate(the_papers_rounds(6, server_rate), start=1):
        model = ours.round(range(4))
        assert model == pytest.approx(x, abs=1e-4), f"round {number}"
        assert in_gradients * ours.learned.variate == pytest.approx(c, abs=1e-3)
        for agent in range(4):
            own = ours.open(agent)._own(RUN)
            assert in_gradients * own == pytest.approx(ci[agent], abs=1e-3)


def test_agents_with_different_wishes_meet_where_fedavg_does_not(tmp_path, quiet):
    (tmp_path / "plain").mkdir()
    found = {"scaffold": Federation(tmp_path), "fedavg": Federation(tmp_path / "plain", strategy="fedavg")}  # fmt: skip
    for _ in range(40):
        for federation in found.values():
            federation.round(range(4))
    everybody = wanted(range(4))
    assert found["scaffold"].learned.model == pytest.approx(everybody, abs=1e-2)
    assert np.abs(found["fedavg"].learned.model - everybody).max() > 0.1


def test_one_that_joins_late_or_lost_its_file_is_soon_heard_like_the_others(tmp_path, quiet):
    ours = Federation(tmp_path)
    for _ in range(30):
        ours.round(range(3))
    assert ours.learned.model == pytest.approx(wanted([0, 1, 2]), abs=1e-2)
    ours.round(range(4))
    (tmp_path / "1" / VARIATE_FILE).unlink()
    for _ in range(40):
        ours.round(range(4))
    assert ours.learned.model == pytest.approx(wanted(range(4)), abs=1e-2)


def test_an_attempt_that_was_undone_leaves_no_bias(tmp_path, quiet):
    """Agents finished it and kept new variates; the server knows nothing of it."""
    ours = Federation(tmp_path)
    for number in range(40):
        if number % 3 == 0:
            for agent in (0, 2):
                ours.update(agent)
        ours.round(range(4))
    assert ours.learned.model == pytest.approx(wanted(range(4)), abs=1e-2)


def test_the_correction_is_no_part_of_the_update_and_comes_after_the_noise(monkeypatch):
    """One step: with clipped gradient g and noise z the update is −η(g + z)/n_ref, however far it bends."""
    monkeypatch.setattr(secure, "gaussian", np.full)
    plan = bench.plan(steps=1, control_variates=True, noise_multiplier=1.5, clip_norm=0.5)
    options = bench.CanaryOptions(2)
    examples = bench.canary_examples(np.ones(2, dtype=bool))
    task, start = bench.CanaryTask(), np.zeros(2, np.float32)
    found = [
        train(task, options, examples, start, task.tensors(options), plan, 10, bend=bend).update
        for bend in (None, np.array([1000.0, -1000.0], np.float32))
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-3)
    assert found[0] == pytest.approx(-2.0 * (1.5 * 0.5 - 0.5) / 10, abs=1e-3)


def test_every_step_is_bent_by_an_equal_share(quiet):
    """A bowl of curve 0 has no gradient: where the model stood at each step is the bend alone."""
    seen = []

    class Watched(Bowl):
        def forward(self, inputs):
            seen.append(self.weight.detach().clone().numpy())
            return super().forward(inputs)

    task = BowlTask()
    task.build = lambda _options: Watched()
    flat = ArrayRecords(np.zeros((1, 2 * SIZE), np.float32), np.zeros(1, np.int64))
    plan = bench.plan(steps=4, control_variates=True)
    bend = np.array([4.0, -8.0, 0.0], np.float32)
    train(task, OPTIONS, flat, np.zeros(SIZE, np.float32), TENSORS, plan, 1, modes=("single",))
    seen.clear()
    train(
        task, OPTIONS, flat, np.zeros(SIZE, np.float32), TENSORS, plan, 1,
        modes=("single",), bend=bend,
    )  # fmt: skip
    assert np.array_equal(seen, [bend * share / 4 for share in range(4)])


def test_what_was_kept_serves_the_same_run_and_shape_only(tmp_path):
    variates = Variates(tmp_path)
    mean = np.array([1.0, 2.0], np.float32)
    assert variates.bend(RUN, mean) is None
    variates.keep(RUN, to_blob(np.array([0.5, -1.0], np.float32)))
    assert Variates(tmp_path).bend(RUN, mean).tolist() == [0.5, 3.0]
    assert variates.bend("run-2", mean) is None
    assert variates.bend(RUN, np.zeros(3, np.float32)) is None
    variates.keep("run-2", to_blob(mean))
    assert variates.bend(RUN, mean) is None
    assert (tmp_path / VARIATE_FILE).stat().st_mode & 0o777 == 0o600


def test_no_changed_byte_of_a_kept_variate_is_ever_used(tmp_path, caplog):
    variates = Variates(tmp_path)
    variates.keep(RUN, to_blob(np.array([0.5], np.float32)))
    path = tmp_path / VARIATE_FILE
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert variates.bend(RUN, np.zeros(1, np.float32)) is None
        path.write_bytes(good[:at])
        assert variates.bend(RUN, np.zeros(1, np.float32)) is None
    assert "is damaged and not used" in caplog.text


def test_the_hash_of_the_model_binds_the_variate():
    model, variate = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
    hashes = {
        model_hash(model, TENSORS),
        model_hash(model, TENSORS, variate),
        model_hash(model, TENSORS, 2 * variate),
        model_hash(variate, TENSORS, model),
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    "changes",
    [{"momentum": 0.5}, {"optimizer": "adam"}, {"average": 0.5}, {"proximal": 0.1}],
    ids=str,
)
def test_scaffold_takes_plain_steps_alone(changes):
    with pytest.raises(ValueError, match="scaffold belongs to sgd without"):
        bench.plan(control_variates=True, **changes)
    with pytest.raises(ValueError, match="scaffold belongs to sgd without"):
        plan_for(
            4,
            server__strategy="scaffold",
            training__learning_rate=1.0,
            **{f"training__{key}": value for key, value in changes.items()},
        )


def test_a_plan_without_control_variates_does_not_name_them():
    assert b"control_variates" not in bench.plan().to_json()
    with_them = bench.plan(control_variates=True)
    assert b'"control_variates":true' in with_them.to_json()
    assert TrainingPlan.from_json(with_them.to_json()) == with_them
