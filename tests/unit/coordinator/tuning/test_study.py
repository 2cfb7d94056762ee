"""The trials of a study, on a made-up landscape: what is tried next, what is kept, what is refused."""

import math

import pytest

from edgeveil.coordinator.tuning.space import Axis, Space
from edgeveil.coordinator.tuning.study import Study
from edgeveil.coordinator.tuning.trial import Result
from edgeveil.shared.base.errors import ConfigError, ProtocolError, RefusalCode, StateDamaged

RATE = "training.learning_rate"
SPACE = Space(
    {"server.strategy": Axis(choices=("fedavg", "fedavgm")), RATE: Axis(low=0.1, high=1000.0, log=True)}
)  # fmt: skip
ROUNDS = 8


def study(folder, identity=None, score=float):
    return Study(folder, identity or {"plan": "a", "data": "b"}, SPACE, score)


def hill(values, report):
    """Best at 30, the same in every round."""
    value = 1 - abs(math.log10(values[RATE] / 30)) / 4
    for number in range(1, ROUNDS + 1):
        report(number, value * number / ROUNDS)
    return Result(value, 0.01)


def test_more_trials_come_closer_to_the_best_and_bad_ones_are_ended_early(tmp_path):
    made = study(tmp_path)
    for _ in range(25):
        made.next(1, ROUNDS, hill)
    tried = made.tried()
    assert [each.number for each in tried] == list(range(1, 26))
    assert made.best().value > 0.95
    pruned = [each for each in tried if each.how == "pruned"]
    assert pruned
    assert all(each.rounds < ROUNDS for each in pruned)
    assert all(each.how == "finished" for each in tried[:5])
    share = made.importance()
    assert share[RATE] > share["server.strategy"]


def test_a_study_that_is_opened_again_goes_on_as_if_it_had_not_been_closed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, halves = study(tmp_path / "a"), study(tmp_path / "b")
    for _ in range(6):
        whole.next(3, ROUNDS, hill)
    halves.next(3, ROUNDS, hill)

    def stopped(_values, report):
        report(1, 0.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        halves.next(3, ROUNDS, stopped)
    again = study(tmp_path / "b")
    for _ in range(5):
        again.next(3, ROUNDS, hill)
    assert [each.values for each in again.tried()] == [each.values for each in whole.tried()]


def test_a_study_of_something_else_is_refused_in_one_sentence(tmp_path):
    study(tmp_path)
    with pytest.raises(ConfigError, match="this study is of another data; choose another --study") as found:  # fmt: skip
        study(tmp_path, {"plan": "a", "data": "c"})
    assert "\n" not in found.value.message


def test_trials_that_are_no_plan_or_diverge_are_kept_with_their_reason(tmp_path):
    made = study(tmp_path)

    def refused(_values, _report):
        raise ConfigError("momentum belongs to sgd")

    def diverged(_values, report):
        report(1, 0.1)
        raise ProtocolError(RefusalCode.UPDATE_NON_FINITE, "to infinity")

    assert (made.next(1, ROUNDS, refused).how, made.next(1, ROUNDS, diverged).how) == ("refused", "diverged")  # fmt: skip
    assert made.tried()[0].why == "momentum belongs to sgd"
    assert made.best() is None
    assert made.importance() == {}


def test_of_a_metric_of_which_less_is_better_the_least_is_best(tmp_path):
    made = study(tmp_path, score=lambda value: -value)
    for value in (3.0, 1.0, 2.0):

        def error(_values, report, value=value):
            report(1, value)
            return Result(value, 0.0)

        made.next(1, ROUNDS, error)
    assert made.best().value == 1.0


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_file_that_is_no_study_is_named_or_begun(content, tmp_path):
    (tmp_path / "study.db").write_bytes(content)
    if content:
        with pytest.raises(StateDamaged, match="cannot be used as a study"):
            study(tmp_path)
    else:
        assert study(tmp_path).tried() == []
