"""Canary audit of the real trainer: what an observer of the update can infer stays below the claim.

Planted faults must raise the alarm, or the audit would prove nothing.
"""

import json
import math

import dp_bench as bench
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.reports.audited import newest
from edgeveil.agent.training import sampler
from edgeveil.agent.training.auditing import audit as audits
from edgeveil.agent.training.auditing.audit import audit
from edgeveil.agent.training.auditing.canaries import AuditedTask, CanaryRecords, traces
from edgeveil.agent.training.engines import gradients
from edgeveil.agent.training.engines import optimizer as secure
from edgeveil.agent.training.noise import gaussian
from edgeveil.agent.training.training import train
from edgeveil.shared.base.errors import ConfigError, DataError, PolicyRefusal
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.privacy.audit import judge, lower_bound, p_value
from edgeveil.shared.privacy.gaussian import Separation
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import ArrayRecords

CANARIES, STEPS, DELTA = 5000, 4, 1e-5
TASK = registry.load(registry.newest("image-classification"))
OPTIONS = TASK.parse_options({"variant": "linear", "height": 8, "width": 8})


@pytest.fixture(scope="module")
def records():
    random = np.random.default_rng(1)
    inputs = random.normal(size=(50, 65)).astype(np.float32)
    return ArrayRecords(inputs, random.integers(0, 10, 50))


def canaries(records, included):
    made_up = TASK.probe(1, torch.Generator().manual_seed(4), OPTIONS)
    return CanaryRecords(records, made_up, included, most=audits.MOST_RECORDS)


def run(records, canaries=CANARIES, steps=STEPS):
    return audit(TASK, OPTIONS, records, canaries=canaries, steps=steps, delta=DELTA)


def plant(monkeypatch, factor):
    monkeypatch.setattr(secure, "gaussian", lambda count, std: gaussian(count, std * factor))


def test_an_honest_engine_stays_below_the_claim(records):
    found = run(records)
    assert found.passed
    assert found.guesses.epsilon < found.claimed
    for one in found.near:
        assert one.found.mu == pytest.approx(one.found.expected, abs=0.15)
        assert one.epsilon < one.claimed


def test_what_it_proves_is_near_what_a_perfect_attack_would_find(records):
    """Shares are 0.93 and 0.96 on average; 0.8 is four standard errors below the first."""
    found = run(records, canaries=6000)
    shares = [one.epsilon / one.gaussian for one in found.near]
    assert [one.claimed for one in found.near] == [3.0, 8.0]
    assert min(shares) > 0.8


@pytest.mark.parametrize(
    "factor", [pytest.param(0.0, marks=pytest.mark.long), 1 / 5], ids=["off", "a fifth"]
)
def test_far_too_little_noise_lifts_the_bound_above_the_claim(monkeypatch, records, factor):
    plant(monkeypatch, factor)
    found = run(records)
    assert found.guesses.epsilon > found.claimed
    assert all(one.epsilon > one.claimed for one in found.near)
    assert not found.passed


@pytest.mark.parametrize(
    "factor",
    [*(pytest.param(factor, marks=pytest.mark.long) for factor in (0.0, 1 / 3)), 1 / 1.5],
    ids=["off", "a third", "two thirds"],
)
def test_too_little_noise_raises_the_alarm(monkeypatch, records, factor):
    plant(monkeypatch, factor)
    found = run(records)
    assert [(one.alarms, one.runs) for one in found.near] == [(3, 3), (3, 3)]
    assert "too little noise" in found.near[1].found.alarms
    assert not found.passed


def test_a_divisor_that_follows_the_number_of_records_raises_the_alarm(monkeypatch, records):
    """opacus#819: whoever divides by what it counts shows how much it counted, whatever the noise."""
    honest = audits.train

    def divides_by_what_it_has(*inputs, **rest):
        return honest(*inputs[:6], len(inputs[2]), **rest)

    monkeypatch.setattr(audits, "train", divides_by_what_it_has)
    found = run(records)
    assert not found.passed
    assert "noise or divisor is not the declared one" in found.near[0].found.alarms


def test_noise_that_is_not_gaussian_raises_the_alarm(monkeypatch, records):
    random = np.random.default_rng(5)

    def flat(count, std):
        return random.uniform(-1, 1, count) * std * math.sqrt(3)

    monkeypatch.setattr(secure, "gaussian", flat)
    found = run(records, steps=1)  # more steps add up to something rounder
    assert not found.passed
    assert "the noise is not Gaussian" in found.near[0].found.alarms


@pytest.mark.parametrize("scheme", ["one size", "shuffled"])
def test_batches_that_are_not_drawn_one_by_one_fail_the_samplers_own_test(
    monkeypatch, records, scheme
):
    random, left = np.random.default_rng(6), []

    def of_one_size(count, rate):
        if rate == 1:
            return np.arange(count)
        if scheme == "one size":
            return random.permutation(count)[: int(count * rate)]
        if not left:
            left.extend(np.array_split(random.permutation(count), round(1 / rate)))
        return left.pop()

    monkeypatch.setattr(sampler, "poisson_sample", of_one_size)
    with pytest.raises(PolicyRefusal, match="record sampler failed its self-test"):
        run(records)


def test_missing_clipping_raises_the_alarm(monkeypatch, records):
    monkeypatch.setattr(secure, "MARGIN", 2.0)
    monkeypatch.setattr(gradients, "MARGIN", 2.0)
    assert not run(records).passed


def test_one_alarm_by_chance_is_looked_at_again(monkeypatch, records):
    honest = audits.separation
    calls = []

    def first_alarms(*inputs, **rest):
        found = honest(*inputs, **rest)
        calls.append(found)
        if len(calls) > 1:
            return found
        fields = {name: getattr(found, name) for name in Separation.__slots__}
        return Separation(**{**fields, "tails": 6.0})

    monkeypatch.setattr(audits, "separation", first_alarms)
    found = run(records)
    assert [(one.alarms, one.runs) for one in found.near] == [(1, 3), (0, 1)]
    assert found.passed


@pytest.mark.parametrize("variant", ["fixed", "cnn"])
def test_the_tasks_of_the_catalogue_can_be_audited(variant):
    name = "feature-head" if variant == "fixed" else "image-classification"
    task = registry.load(registry.newest(name))
    options = task.parse_options({"variant": variant, "height": 8, "width": 8})
    shape = (1, 8, 8) if variant == "cnn" else (task.tensors(options)[0].shape[1],)
    inputs = np.random.default_rng(2).normal(size=(20, *shape)).astype(np.float32)
    real = ArrayRecords(inputs, np.zeros(20, np.int64))
    assert audit(task, options, real, canaries=500, steps=2, delta=DELTA).passed


def test_a_canary_moves_its_own_weight_by_the_clip_norm_and_a_record_none(monkeypatch, records):
    monkeypatch.setattr(secure, "gaussian", lambda count, _std: np.zeros(count))
    included = np.array([True, False, True, False])
    audited = AuditedTask(TASK, 4)
    tensors = audited.tensors(OPTIONS)
    start = np.zeros(sum(math.prod(t.shape) for t in tensors), np.float32)
    plan = bench.plan(steps=1, clip_norm=0.5, learning_rate=1.0)
    result = train(audited, OPTIONS, canaries(records, included), start, tensors, plan, 100)
    moved = traces(result.update, tensors)
    assert moved == pytest.approx([0.005 * secure.MARGIN, 0, 0.005 * secure.MARGIN, 0], abs=1e-9)
    plain = train(TASK, OPTIONS, records, start[:650], TASK.tensors(OPTIONS), plan, 100)
    rest = np.delete(result.update, np.arange(4))
    assert np.allclose(rest, plain.update, atol=1e-7), "real records learn as without canaries"


def test_the_owners_records_come_first_and_are_not_changed(records):
    before = records.inputs.copy()
    found = canaries(records, np.array([True, False, True]))
    (inputs, marks), targets = found.take(np.arange(len(found)))
    assert np.array_equal(records.inputs, before)
    assert np.array_equal(inputs[:50], before)
    assert np.array_equal(targets[:50], records.targets)
    assert (len(inputs), not marks[:50].any(), marks[50:].tolist()) == (
        52,
        True,
        [[1, 0, 0], [0, 0, 1]],
    )


@pytest.mark.parametrize("right", [0, 1, 50, 99, 100])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_the_p_value_is_the_published_formula(right, epsilon):
    rate, guesses = 1 / (1 + math.exp(-epsilon)), 100
    tail = stats.binom.sf(right - 1, guesses, rate)
    lost = [
        (stats.binom.cdf(right - 1, guesses, rate) - stats.binom.cdf(right - i - 1, guesses, rate))
        / i
        for i in range(1, right + 1)
    ]
    expected = tail + 2 * 1000 * DELTA * max(lost, default=0.0)
    assert p_value(epsilon, right, guesses, 1000, DELTA) == pytest.approx(expected, rel=1e-9)


def test_the_bound_of_perfect_guesses_is_far_above_any_claim_and_of_blind_ones_zero():
    assert lower_bound(1000, 1000, 5000, DELTA) > 4
    assert lower_bound(500, 1000, 5000, DELTA) == 0
    included = np.arange(CANARIES) % 2 == 0
    assert judge(included, included.astype(float), DELTA).epsilon > 4


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(3)
    path = tmp_path / "data.npz"
    np.savez(path, X=random.integers(0, 255, (40, 28, 28), dtype=np.uint8), y=np.arange(40) % 10)
    return path


def command(data, tmp_path, *flags):
    arguments = [
        "audit",
        "--home",
        str(tmp_path),
        "--data",
        str(data),
        "--canaries",
        "1000",
        *flags,
    ]
    return CliRunner().invoke(app, arguments)


def test_the_command_prints_the_bound_beside_the_claim(data, tmp_path):
    result = command(data, tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["epsilon_lower_bound"] < found["epsilon_claimed"] == 1.0
    assert found["records"] == 40
    assert [one["epsilon_claimed"] for one in found["near"]] == [3.0, 8.0]
    assert not (tmp_path / "ledger").exists()
    kept = newest(tmp_path)
    assert kept["passed"] is True
    assert kept["canaries"] == 1000


def test_the_command_takes_the_options_of_a_plan_and_says_which_records_were_in_it(data, tmp_path):
    result = command(data, tmp_path, "--task", "image-classification", "--option", "variant=linear", "--option", "classes=10")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "among 40 of yours, trained by image-classification" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (("--option", "height=8", "--option", "width=8"), DataError, "options of the task"),
        (("--task", "tabular"), ConfigError, "--option KEY=VALUE"),
        (("--option", "height"), ConfigError, "write KEY=VALUE"),
        (("--option", "heigth=28"), ConfigError, "options.heigth"),
    ],
)
def test_an_audit_of_nothing_is_refused(data, tmp_path, flags, error, says):
    """One that saw no record of the owner's would stand in the privacy report as passed."""
    result = command(data, tmp_path, *flags)
    assert isinstance(result.exception, error)
    assert says in str(result.exception)
    assert newest(tmp_path) is None


def test_an_audit_among_none_of_the_owners_records_is_refused(tmp_path):
    (tmp_path / "photos" / "pears").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "pears" / "1.png")
    result = command(tmp_path / "photos", tmp_path)
    assert isinstance(result.exception, DataError)
    assert "can use no record of it; name the task and the options" in str(result.exception)
    assert newest(tmp_path) is None


def test_the_command_catches_an_engine_without_noise(data, tmp_path, monkeypatch):
    plant(monkeypatch, 0.0)
    result = command(data, tmp_path)
    assert result.exit_code == ExitCode.TOO_LITTLE_NOISE == 7
    assert newest(tmp_path)["near"][0]["epsilon_lower_bound"] is None
    assert "do not train with this installation" in result.stdout


def test_the_help_says_which_code_means_that_the_noise_is_missing():
    told = " ".join(CliRunner().invoke(app, ["audit", "--help"]).stdout.split())
    assert f"Ends with {ExitCode.TOO_LITTLE_NOISE:d} where" in told
