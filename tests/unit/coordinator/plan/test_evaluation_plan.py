"""[evaluation] on = "devices": what a plan may ask for, what follows from it, and what old plans keep."""

import pytest
from fakes_federation import plan_for
from pydantic import ValidationError

from edgeveil.coordinator.plan.evaluation import (
    evaluation_noise,
    evaluation_plan,
    evaluations_cost,
)
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.rdp import epsilon
from edgeveil.shared.scores.tallies import TallyForm

FORM = TallyForm((("right", (3,)), ("missed", (3,)), ("wrong", (3,))), most=2)


def on_devices(agents=10, **changes):
    plan = {"evaluation__on": "devices", "evaluation__epsilon": 0.5, "rounds__count": 10}
    return plan_for(agents, **plan | changes)


def shared(**changes):
    how = {
        "evaluation__noise": "shared",
        "evaluation__honest": 6,
        "evaluation__epsilon": 8.0,
        "evaluation__epsilon_sum": 0.5,
        "rounds__minimum": 8,
        "secagg__c_min": 1,
    }
    return on_devices(**how | changes)


@pytest.mark.parametrize(("every", "count"), [("last", 1), (1, 10), (3, 4), (5, 2), (99, 1)])
def test_all_evaluations_of_a_run_cost_their_epsilon_and_hardly_less(every, count):
    plan = on_devices(evaluation__every=every)
    due = [n for n in range(1, 11) if plan.evaluation.due(n, 10)]
    assert len(due) == count == plan.evaluation.until(10, 10)
    assert [plan.evaluation.until(n, 10) for n in due] == list(range(1, count + 1))
    proposal = evaluation_plan(plan, FORM)
    assert [n for n in range(1, 11) if proposal.due(n)] == due
    assert [proposal.left(n) for n in due] == list(range(count, 0, -1))
    assert proposal.left(1) == count
    _, alone = evaluations_cost(plan, count)
    assert 0.49 < epsilon([alone], 1e-5)[0] <= 0.5


def test_in_shares_the_sums_keep_to_their_epsilon_with_less_noise_each():
    plan = shared(evaluation__every="last")
    summed, alone = evaluations_cost(plan, 1)
    assert 0.49 < epsilon([summed], 1e-5)[0] <= 0.5 < epsilon([alone], 1e-5)[0] <= 8
    assert evaluation_noise(plan) < evaluation_noise(on_devices(evaluation__every="last")) / 2
    assert evaluation_plan(plan, FORM).honest == 6


def test_a_plan_that_says_nothing_of_it_has_the_bytes_that_it_always_had():
    told = plan_for(4).model_dump(mode="json")["evaluation"]
    assert set(told) == {"data", "every", "metric", "patience", "least_gain", "reject_below"}
    again = type(plan_for(4)).model_validate(on_devices().model_dump(mode="json"))
    assert again == on_devices()
    assert again.limit == 8.5


WRONG = {
    "no noise": ({"epsilon": None}, "epsilon is missing"),
    "data too": ({"data": "x.npz"}, "belong to on"),
    "undoing": ({"reject_below": 0.1}, "belong to on"),
    "the loss": ({"metric": "loss"}, "mean loss"),
    "never": ({"every": 0}, "from 1"),
    "shares of nobody": ({"noise": "shared"}, "honest and epsilon_sum"),
    "honest without shares": ({"honest": 3}, 'noise = "shared"'),
    "a sum above its parts": ({"noise": "shared", "honest": 3, "epsilon_sum": 2.0}, "above epsilon"),
    "more honest than there are": ({"noise": "shared", "honest": 9, "epsilon_sum": 0.4}, "evaluation.honest"),
    "noise elsewhere": ({"on": "coordinator"}, "belong to on"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused_by_its_name(name):
    keys, said = WRONG[name]
    with pytest.raises(ValidationError, match=said):
        on_devices(**{f"evaluation__{key}": value for key, value in keys.items()})


def test_early_stopping_may_go_by_it():
    assert on_devices(evaluation__patience=3, evaluation__metric="macro_f1").evaluation.patience


def test_counts_that_do_not_fit_are_refused_before_a_run():
    huge = on_devices(agents=1000, secagg__n_ref_max=100_000_000, secagg__c_min=1)
    with pytest.raises(ConfigError, match="n_ref_max"):
        evaluation_plan(huge, FORM)
