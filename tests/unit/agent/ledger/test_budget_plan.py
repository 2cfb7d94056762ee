"""`agent budget plan`: the figures of the published vectors, and the planner on top of what is spent."""

import json
import math

import privacy_bench as bench
import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.ledger.budget_plan import answer, start_from, start_from_ledger
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.filter import choose_order, noise_multiplier_for

VECTORS = bench.VECTORS["vectors"]


def plan(*arguments, **files):
    """The command's JSON."""
    result = CliRunner().invoke(app, ["budget", "plan", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def arguments_of(vector, folder):
    """The last segment as flags, those before it as --history."""
    *before, last = vector["history"]
    found = ["--noise", last["sigma"], "--rate", last["q"], "--steps", last["steps"]]
    if before:
        path = folder / "history.json"
        path.write_text(json.dumps([[s["sigma"], s["q"], s["steps"]] for s in before]))
        found += ["--history", path]
    return [*found, "--delta", vector["delta"]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_the_command_prints_the_published_figure_at_its_order(vector, tmp_path):
    found = plan(*arguments_of(vector, tmp_path), "--no-prv")
    expected = vector["integer_orders_2_256"]
    assert list(found) == ["epsilon_rdp", "alpha", "epsilon_prv"]
    assert found["epsilon_rdp"] == pytest.approx(expected["epsilon"], abs=1e-6)
    assert found["alpha"] == expected["best_order"]
    assert found["epsilon_prv"] is None


def test_the_prv_figure_stands_beside_it(tmp_path):
    vector = next(v for v in VECTORS if v["id"] == "A")
    found = plan(*arguments_of(vector, tmp_path))
    assert found["epsilon_prv"] == pytest.approx(7.0570, abs=0.02)


def test_a_budget_adds_the_rounds_left():
    found = plan("--noise", 6.992, "--steps", 3, "--epsilon", 8, "--no-prv")
    assert found["rounds_left"] == 40
    assert found["share_left"] == 1.0


def test_without_noise_the_least_that_fits_is_found():
    found = plan("--steps", 3, "--rounds", 40, "--epsilon", 8, "--no-prv")
    assert found["noise_multiplier"] == pytest.approx(6.990, abs=0.001)
    assert found["rounds_left"] == 40
    assert found["epsilon_rdp"] == pytest.approx(8.0, abs=1e-6)


def test_what_is_spent_raises_the_noise(tmp_path):
    history = tmp_path / "history.json"
    history.write_text("[[7.0, 1.0, 60]]")
    start = start_from(history, 8.0, 1e-5)
    found = answer(start, noise=None, rate=1.0, steps=3, rounds=20, prv=False)
    alone = answer(start_from(None, 8.0, 1e-5), noise=None, rate=1.0, steps=3, rounds=20, prv=False)
    assert found["noise_multiplier"] > alone["noise_multiplier"]
    assert found["epsilon_rdp"] <= 8.0


def test_the_ledger_is_a_start_with_its_own_budget_and_order(tmp_path):
    device = joined_device(tmp_path)
    fresh = start_from_ledger(device.path, None)
    assert (fresh.history, fresh.epsilon_max) == ((), 8.0)
    device.train(3, noise_multiplier=20.0, steps=5)
    start = start_from_ledger(device.path, None)
    assert start.history[0].steps == 15
    sigma = answer(start, noise=None, rate=1.0, steps=5, rounds=4, prv=False)["noise_multiplier"]
    order = choose_order(8.0, 1e-5)
    assert start.order == order
    assert sigma == noise_multiplier_for(8.0, 1e-5, 20, 1.0, start.history, order=order)
    with device.device.open() as store:
        assert store.state.steps_left(sigma, 1.0) >= 20
        assert store.state.steps_left(sigma * (1 - 1e-6), 1.0) < 20


def test_the_owner_is_warned_when_little_is_left(tmp_path):
    device = joined_device(tmp_path)
    device.train(2, noise_multiplier=4.43, steps=20)
    flags = ["--ledger", "--home", str(device.path), "--noise", "20", "--steps", "1"]
    result = CliRunner().invoke(app, ["budget", "plan", *flags, "--no-prv"])
    assert "of the budget is left" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ["--noise", "0", "--steps", "1"],
        ["--noise", "1", "--rate", "0", "--steps", "1"],
        ["--noise", "1", "--steps", "0"],
        ["--noise", "1", "--steps", "1", "--delta", "1"],
        ["--steps", "1"],
        ["--steps", "1", "--epsilon", "8", "--ledger"],
        ["--noise", "1", "--steps", "1", "--history", "/does/not/exist"],
        ["--noise", "1", "--steps", "2", "--parameters", "650"],
        ["--noise", "1", "--rate", "0.5", "--parameters", "650"],
    ],
)
def test_impossible_questions_are_refused(flags):
    result = CliRunner().invoke(app, ["budget", "plan", *flags])
    assert isinstance(result.exception, ConfigError)


@pytest.mark.parametrize("text", ["{}", "[[1, 1]]", "[[1, 1, 1.5]]", "[[0, 1, 1]]", "nonsense"])
def test_a_history_of_another_shape_is_refused(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="JSON list"):
        start_from(path, None, 1e-5)


def test_a_spent_budget_has_no_noise_that_fits(tmp_path):
    path = tmp_path / "history.json"
    path.write_text("[[4.43, 1.0, 48]]")
    start = start_from(path, 8.0, 1e-5)
    with pytest.raises(ConfigError, match="no noise_multiplier fits"):
        answer(start, noise=None, rate=1.0, steps=10**9, rounds=10**6, prv=False)


def test_shared_noise_gives_both_multipliers_and_both_epsilons():
    """√6 between the two; the sum fits the budget, the share alone costs more: figures of docs/privacy.md."""
    found = plan("--shared", "--honest", 6, "--epsilon", 1, "--rounds", 100, "--delta", 1e-5)
    keys = ["noise_multiplier_sum", "noise_multiplier_share", "epsilon_sum", "epsilon_alone"]
    assert list(found) == keys
    local = plan("--steps", 1, "--rounds", 100, "--epsilon", 1, "--no-prv")["noise_multiplier"]
    assert found["noise_multiplier_sum"] == pytest.approx(local, rel=1e-8)
    share = found["noise_multiplier_share"]
    assert share == pytest.approx(found["noise_multiplier_sum"] / math.sqrt(6))
    assert 0.999 < found["epsilon_sum"] <= 1
    alone = plan("--steps", 100, "--noise", share, "--no-prv")["epsilon_rdp"]
    assert found["epsilon_alone"] == pytest.approx(alone, rel=1e-7)
    assert found["epsilon_alone"] == pytest.approx(2.681, abs=0.001)


def test_a_share_that_is_given_is_only_costed():
    found = plan("--shared", "--honest", 4, "--noise", 10, "--rounds", 25)
    assert found["noise_multiplier_sum"] == 20
    assert found["epsilon_sum"] < found["epsilon_alone"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shared", "--epsilon", 1], "--honest"),
        (["--honest", 3, "--steps", 1, "--epsilon", 1], "--shared"),
        (["--epsilon", 1], "--steps"),
        (["--shared", "--honest", 6, "--steps", 3, "--epsilon", 1], "one step a round"),
        (["--shared", "--honest", 0, "--epsilon", 1], "--honest 0"),
        (["--shared", "--honest", 1, "--epsilon", 1], "--honest 1: write 2 to 65535"),
        (["--shared", "--honest", 99999999, "--epsilon", 1], "--honest 99999999"),
        (["--shared", "--honest", 6, "--epsilon", "1e300"], "--epsilon 1e+300 is outside"),
        (["--steps", 1, "--epsilon", 0], "--epsilon 0 is outside"),
        (["--steps", 1, "--epsilon", "nan"], "--epsilon nan is outside"),
        (["--shared", "--honest", 6], "--epsilon"),
        (["--shared", "--honest", 6, "--noise", -2], "noise_multiplier"),
        (["--shared", "--honest", 6, "--rate", 0, "--epsilon", 1], "sample_rate"),
    ],
)
def test_a_question_about_shares_that_has_no_answer_is_refused_in_a_sentence(flags, told):
    result = CliRunner().invoke(app, ["budget", "plan", *map(str, flags), "--json"])
    assert isinstance(result.exception, ConfigError)
    assert told in str(result.exception)


def asked_for_devices(*flags):
    result = CliRunner().invoke(app, ["budget", "plan", "--parameters", "650", "--json", *flags])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_whole_updates_are_one_step_a_round_and_it_is_said_how_many_devices_they_take():
    local = asked_for_devices("--epsilon", "8", "--rounds", "100", "--no-prv")
    steps = plan("--noise", local["noise_multiplier"], "--steps", 100, "--no-prv")
    assert local["epsilon_rdp"] == steps["epsilon_rdp"] <= 8
    assert local["devices_needed"] == 1059
    assert 0.45 * 8 < local["epsilon_absent"] < 0.5 * 8
    given = asked_for_devices("--noise", str(local["noise_multiplier"]), "--rounds", "100", "--no-prv")  # fmt: skip
    assert given["devices_needed"] == 1059
    shared = asked_for_devices("--shared", "--honest", "30", "--epsilon", "8", "--rounds", "100")
    assert shared["devices_needed"] == 36
    assert shared["epsilon_absent"] == pytest.approx(local["epsilon_absent"], rel=1e-6)
    many = asked_for_devices("--shared", "--honest", "100", "--epsilon", "8", "--rounds", "100")
    assert many["devices_needed"] == 100, "no fewer than are to be honest"
